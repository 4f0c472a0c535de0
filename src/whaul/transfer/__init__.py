"""Moving one file: down from Meta, up to Meta, with attempts, shared flights and messages sent once."""
