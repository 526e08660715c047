"""Files of entries: read, looked over line by line against what a collection holds, and imported as one act."""
