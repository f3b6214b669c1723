"""Lists of images: folders, list files, WebVision's metadata, PASCAL VOC."""
