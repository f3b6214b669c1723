"""Where it computes: threads, devices, number formats, processes."""
