//go:build tools

// Package tools pins what the testbed builds from this module; nothing here is compiled into anything.
package tools

import (
	_ "github.com/axonops/axonops-schema-registry/cmd/schema-registry"
)
