"""Makes the tables that are missing: `python -m chat.create_tables`, once before the application starts.

Not a part of its start: an application that can only read for now should come up all the same.
"""

from __future__ import annotations

from chat.database.models import Base
from chat.database.replica_manager import make_replica_manager


def main() -> None:
    manager = make_replica_manager()
    try:
        with manager.get_write_session() as session:
            Base.metadata.create_all(session.connection())
    finally:
        manager.dispose()


if __name__ == "__main__":
    main()
