// The Prometheus that the tests and the demo run. node_exporter is a module of
// its own beside this one: it wants older versions of prometheus/common and
// others, and in one module each tool would be built with versions that its
// authors never released it with.
//
// `go mod tidy` does not work here: it looks at every build tag, and one of the
// service-discovery dependencies that the tags in scripts/build-go-tools.sh
// leave out cannot always be downloaded. To update, change the version below
// and run the command that the script prints with --update.
module promarchive.dev/tests/go/prometheus

go 1.26.7

require github.com/prometheus/prometheus v0.316.0 // Prometheus 3.16.0
