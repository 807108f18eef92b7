# shellcheck shell=bash
# Images without a registry: ours from compiled programs by `images/build`, those of the servers from the artefacts in
# the testbed's cache on a root file system of Debian packages. In: variables of `e2e`. Out: archives in $ARCHIVES.
# Each is made anew when what goes into it has changed.

B=(buildah --storage-driver vfs)
JAVA=17
# Raised when a list of packages changes.
BASE=candles-node-base:2
BASE_JAVA=candles-node-java:2

# Debian packages, unpacked only, as an image: name, packages.
base() {
    "${B[@]}" inspect --type image "localhost/$1" >/dev/null 2>&1 && return
    local root container
    root=$(mktemp -d "$WORK/root.XXXXXX")
    mmdebstrap --quiet --mode=root --variant=extract --include="$2" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root"
    rm -rf "$root"/dev/*
    mkdir -p "$root/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    [ ! -d "$root/usr/lib/jvm" ] || ln -sf "/usr/lib/jvm/java-$JAVA-openjdk-$(dpkg --print-architecture)/bin/java" "$root/usr/bin/java"
    container=$("${B[@]}" from scratch)
    "${B[@]}" copy --quiet "$container" "$root" / >/dev/null
    "${B[@]}" commit --quiet "$container" "localhost/$1" >/dev/null
    "${B[@]}" rm "$container" >/dev/null
    rm -rf "$root"
}

# One layer on a base: name, base, entrypoint as JSON, folder with the layer.
image() {
    local container
    container=$("${B[@]}" from "$2")
    "${B[@]}" copy --quiet "$container" "$4" / >/dev/null
    "${B[@]}" config --entrypoint "$3" "$container"
    "${B[@]}" commit --quiet "$container" "docker-archive:$ARCHIVES/${1%:*}.tar:docker.io/library/$1" >/dev/null
    "${B[@]}" rm "$container" >/dev/null
}

servers() {
    local layer=$WORK/layer
    base "$BASE_JAVA" "dash,coreutils,sed,grep,curl,libgcc-s1,openjdk-$JAVA-jre-headless"
    mkdir -p "$layer"/{pause,kafka/opt/kafka,registry/opt,influxdb/usr/local/bin,curl}
    gcc -static -Os -s -o "$layer/pause/pause" "$HERE/pause.c"
    cp -r "$HERE/kafka/bin" "$layer/kafka/opt/kafka/"
    cp -r "$KAFKA/jars" "$layer/kafka/opt/kafka/libs"
    cp -r "$APICURIO/app" "$layer/registry/opt/apicurio"
    cp "$INFLUXDB/bin/influxd" "$layer/influxdb/usr/local/bin/"
    cp "$HERE/influxdb/entrypoint.sh" "$layer/influxdb/"
    image candles-node-pause:1 scratch '["/pause"]' "$layer/pause"
    image candles-node-kafka:1 "localhost/$BASE_JAVA" '["/bin/sh"]' "$layer/kafka"
    local jar
    jar=$(cd "$layer/registry/opt/apicurio" && echo apicurio-registry-app-*-runner.jar)
    image candles-node-registry:1 "localhost/$BASE_JAVA" "[\"java\",\"-jar\",\"/opt/apicurio/$jar\"]" "$layer/registry"
    image candles-node-influxdb:1 "localhost/$BASE_JAVA" '["/entrypoint.sh"]' "$layer/influxdb"
    image candles-node-curl:1 "localhost/$BASE_JAVA" '["/usr/bin/curl"]' "$layer/curl"
}

ours() {
    local program
    mkdir -p "$WORK/programs" "$WORK/layer/exchange/usr/local/bin"
    for program in operator producer consumer; do strip -o "$WORK/programs/$program" "$PROGRAMS/$program"; done
    strip -o "$WORK/layer/exchange/usr/local/bin/exchange-sim" "$PROGRAMS/exchange-sim"
    base "$BASE" libc6,libgcc-s1,libssl3
    ENGINE=buildah BUILDAH_OPTIONS="--storage-driver vfs" BUILDAH_BUILD_OPTIONS="--isolation chroot --quiet" \
        PREBUILT="$WORK/programs" BASE_IMAGE="localhost/$BASE" PROGRAMS="operator producer consumer" \
        TAG="$VERSION" PREFIX="" "$REPOSITORY/images/build"
    for program in operator producer consumer; do
        rm -f "$ARCHIVES/candles-$program.tar"
        "${B[@]}" push --quiet "localhost/candles-$program:$VERSION" \
            "docker-archive:$ARCHIVES/candles-$program.tar:docker.io/library/candles-$program:$VERSION"
    done
    image candles-node-exchange:1 "localhost/$BASE" '["/usr/local/bin/exchange-sim"]' "$WORK/layer/exchange"
}

images() {
    VERSION=$(sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$REPOSITORY/charts/candles/Chart.yaml")
    ARCHIVES=${CANDLES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/candles}/node-images
    mkdir -p "$ARCHIVES"
    WORK=$(mktemp -d "$RUN/work.XXXXXX")
    local key begun=$SECONDS
    key=$(cat "$HERE"/images.sh "$HERE"/pause.c "$HERE"/kafka/bin/* "$HERE"/influxdb/* <(echo "$KAFKA $APICURIO $INFLUXDB") | sha256sum)
    if [ "$(cat "$ARCHIVES/servers.key" 2>/dev/null)" != "$key" ]; then
        echo "node: images of the servers ..."
        rm -f "$ARCHIVES"/*
        servers
        echo "$key" >"$ARCHIVES/servers.key"
    fi
    key=$(cat "$PROGRAMS"/{operator,producer,consumer,exchange-sim} "$REPOSITORY"/images/{Containerfile,build} | sha256sum)
    if [ "$(cat "$ARCHIVES/ours.key" 2>/dev/null)" != "$key" ]; then
        echo "node: our own images ..."
        rm -f "$ARCHIVES"/candles-{operator,producer,consumer}.tar "$ARCHIVES"/candles-node-exchange*
        ours
        echo "$key" >"$ARCHIVES/ours.key"
    fi
    rm -rf "$WORK"
    echo "node: images: done in $((SECONDS - begun)) s"
}
