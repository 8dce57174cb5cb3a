"""Foreign business documents, one file per standard: bytes in, drafts and warnings out; no I/O."""
