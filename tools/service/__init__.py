"""The parts of the HTTP service, tools/serve.py."""
