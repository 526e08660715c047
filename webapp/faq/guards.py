"""What the database itself refuses, whoever asks: to alter the history of entries."""

from webapp.guards import Guards

GUARDS = Guards.append_only(
    "faq",
    "0005_guards",
    table="faq_revision",
    row="faq_revision",
    function="faq_refuse_history",
    refused="The history of FAQ entries cannot be altered or deleted.",
)
