"""Runs one query as InfluxDB 3 would: python query.py TABLE POINTS.csv < QUERY.sql > ANSWER.csv

POINTS.csv has a header, a column `time` (ns since 1970, UTC) and one column for each tag and field. TABLE is the
measurement. Times in the answer are ns since 1970 again.
"""

import sys

import datafusion
import pyarrow
import pyarrow.csv

table, points = sys.argv[1:]
rows = pyarrow.csv.read_csv(points)
place = rows.schema.get_field_index("time")
rows = rows.set_column(place, "time", rows["time"].cast(pyarrow.timestamp("ns")))
context = datafusion.SessionContext()
context.register_record_batches(table, [rows.to_batches()])
answer = context.sql(sys.stdin.read()).to_arrow_table()
place = answer.schema.get_field_index("time")
answer = answer.set_column(place, "time", answer["time"].cast(pyarrow.int64()))
pyarrow.csv.write_csv(answer, sys.stdout.buffer)
