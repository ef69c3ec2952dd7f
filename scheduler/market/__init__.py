"""What is on offer: the language to ask for it, what a report adds to it, and what it takes to be believed."""
