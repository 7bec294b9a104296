"""Raw text is kept nowhere: canaries through a whole stack, and a search of all that it keeps."""
