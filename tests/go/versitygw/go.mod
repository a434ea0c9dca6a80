// versitygw, an S3 server, for the tests of archives in buckets. See
// ../prometheus/go.mod for why it is a module of its own.
module promarchive.dev/tests/go/versitygw

go 1.26

require github.com/versity/versitygw v1.8.0
