"""What may be sent and what comes back, as pydantic models: the one place where the outside's shape is written down."""
