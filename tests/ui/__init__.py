"""The stock Temporal web UI against `tacit dev`: its server is built from the Go module proxy, its pages are opened in
headless Chromium, and no page may show an error, miss what is there, or get a refusal from the service.
"""
