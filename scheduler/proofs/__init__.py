"""What a node has to prove and when, what comes of it, and what is listed of the node for it. Pure."""
