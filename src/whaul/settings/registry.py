"""The database, how its secrets are encrypted, and what the ARNs in it are made of."""

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from whaul import setting_types as types
from whaul.database_url import is_postgresql
from whaul.secrets import HOW_TO_MAKE_A_KEY, Cipher
from whaul.settings.group import SettingGroup


class Registry(SettingGroup):
    """The database, how its secrets are encrypted, and what the ARNs in it are made of."""

    database_url: types.DatabaseUrl = Field(
        default_factory=types.default_database,
        description="The database with the linked accounts and access keys.",
        examples=[
            "sqlite:////var/lib/whaul/whaul.db",
            "postgresql://user:password@host:5432/database?sslmode=verify-full",
        ],
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Encrypts tokens and secret keys at rest: 32 random bytes in URL-safe base64 (a Fernet key). "
        "Several, comma-separated: the first encrypts, all decrypt. If unset, one is made on first use and kept "
        "in a file (mode 0600) beside the SQLite database. Required with PostgreSQL.",
    )
    account_id: str = Field(
        "000000000000", pattern=r"^[0-9]{12}$", description="The account number in ARNs.", examples=["111122223333"]
    )
    region: types.Region = Field(
        "us-east-1",
        description="Region in ARNs, in the scope of signatures, and for S3: AWS's, or the name that another S3 server "
        "uses. `AWS_DEFAULT_REGION` is read when it is unset. The region of an AWS profile is not used, since ARNs and "
        "signatures must not depend on whose shared files a command finds; `whaul doctor` warns of one that differs.",
        examples=["eu-west-1", "auto"],
    )

    @field_validator("secret_key")
    @classmethod
    def _usable_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            Cipher(value)
        elif "database_url" in info.data and is_postgresql(info.data["database_url"].get_secret_value()):
            raise ValueError(
                "required with PostgreSQL, so that every machine has the same one and none is kept beside the data; "
                f"make one with: {HOW_TO_MAKE_A_KEY}"
            )
        return value
