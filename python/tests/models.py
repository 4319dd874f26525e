"""A backend's tables, as backends have them."""

from datetime import date, datetime, timezone
from typing import Optional

from sqlalchemy import Boolean, Column, Date, DateTime, ForeignKey, Integer, String
from sqlalchemy.orm import DeclarativeBase, relationship


def utcnow() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id = Column(Integer, primary_key=True)
    name = Column(String)


class Document(Base):
    __tablename__ = "documents"

    id = Column(Integer, primary_key=True, index=True)
    user_id = Column(Integer, ForeignKey("users.id"), nullable=False)
    file_path = Column(String, nullable=False)
    original_name = Column(String)
    file_type = Column(String)
    date = Column(Date)
    created_at = Column(DateTime, default=utcnow)
    synced_to_nas = Column(Boolean, default=False)
    synced_at = Column(DateTime, nullable=True)
    # Loaded by an outer join, whose rows cannot be locked.
    user = relationship(User, lazy="joined")
