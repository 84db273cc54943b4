"""The event-sourced engine of a native cell: core (sans-IO), store, runtime, API. It knows no accounts and no money."""
