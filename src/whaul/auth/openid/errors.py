"""Why nobody is signed in. The texts are for whoever tried: they hold no code and no token."""


class OpenIdError(Exception):
    """Nobody is signed in; the text says why, and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ProviderError(OpenIdError):
    """The provider cannot be used: it is away, or not what the settings say."""


class RefusedError(OpenIdError):
    """This person, or this attempt, is not let in."""
