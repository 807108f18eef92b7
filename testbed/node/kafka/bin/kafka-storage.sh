#!/bin/sh
exec java $KAFKA_HEAP_OPTS $KAFKA_LOG4J_OPTS -cp "$(dirname "$0")/../libs/*" kafka.tools.StorageTool "$@"
