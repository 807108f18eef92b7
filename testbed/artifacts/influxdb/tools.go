//go:build tools

// Package tools pins what the testbed builds from this module; nothing here is compiled into anything.
package tools

import (
	_ "github.com/influxdata/influxdb/v2/cmd/influxd"
	_ "github.com/influxdata/pkg-config"
)
