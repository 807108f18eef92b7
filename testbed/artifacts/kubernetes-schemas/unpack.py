"""The strict schemas of a wheel of kubernetes-validate in, a folder for each Kubernetes version out, as kubeconform
reads them. Usage: unpack.py FOLDER_WITH_THE_WHEEL OUT"""

import json
import pathlib
import re
import sys
import zipfile

# From the oldest that the charts allow.
OLDEST = (1, 30)
NAME = re.compile(r".*/(v(\d+)\.(\d+)\.\d+)-local-strict/([A-Za-z0-9_.-]+\.json)")

(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
out = pathlib.Path(sys.argv[2])
count = 0
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        match = NAME.fullmatch(name)
        if not match or (int(match[2]), int(match[3])) < OLDEST:
            continue
        schema = json.loads(archive.read(name))
        # Its own address is a server's, and so are its references; here the definitions lie beside the schemas.
        schema.pop("$id", None)
        text = json.dumps(schema).replace('"/api/_definitions.json#', '"_definitions.json#')
        folder = out / match[1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / match[4]).write_text(text)
        count += 1
if count == 0:
    sys.exit(f"{wheel}: no strict schemas")
