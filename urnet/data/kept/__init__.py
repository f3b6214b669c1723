"""What networks computed of pictures, kept by the content of the pictures."""
