"""From what is on the disk to batches: lists, the table, images, loading, sampling."""
