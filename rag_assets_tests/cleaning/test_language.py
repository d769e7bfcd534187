import pytest

from rag_assets.cleaning.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Employees may carry over five days of leave until March.", "en"),
        ("Beschäftigte dürfen fünf Urlaubstage bis März mitnehmen.", "de"),
        ("Les salariés peuvent reporter cinq jours de congé.", "fr"),
        ("Los empleados pueden aplazar cinco días de vacaciones.", "es"),
        ("Сотрудники могут перенести пять дней отпуска до марта.", "ru"),
        ("従業員は三月まで五日間の休暇を繰り越すことができます。よろしくお願いします。", "ja"),
        ("员工可以将五天年假结转到三月。请与您的经理商量具体安排。谢谢大家的配合。", "zh"),
        ("يمكن للموظفين ترحيل خمسة أيام من الإجازة حتى مارس.", "ar"),
        ("EMPLOYEES MAY CARRY OVER FIVE DAYS OF LEAVE UNTIL MARCH.", "en"),
    ],
)
def test_language(text, language):
    assert language_of(text) == language


@pytest.mark.parametrize("text", ["", "1234 5678", "https://example.org/a/b/c/d/e", "OK.", "x = 1"])
def test_too_little_to_tell(text):
    assert language_of(text) is None


def test_addresses_and_code_do_not_vote():
    text = "Das ist ein deutscher Satz. " + "https://example.org/the/english/words/in/this " * 9
    assert language_of(text) == "de"
