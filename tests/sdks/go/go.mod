module tacit/tests/sdks/go

go 1.24
