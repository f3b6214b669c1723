"""Images: from bytes to arrays of pixels."""
