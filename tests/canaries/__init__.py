"""Every feature of the SDK that carries what users wrote, each with a secret of its own that may be nowhere outside."""
