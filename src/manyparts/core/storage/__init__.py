"""Files and folders: written whole, held by one process at a time, cached, linked."""
