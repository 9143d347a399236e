"""Keywords: what people really write, in eight languages, and what only looks like it."""

from typing import Any

import pytest

from connector.errors import SettingsError
from connector.outbound.consent.keywords import (
    ACTIONS,
    LONGEST_PHRASE,
    keyword_tables,
    normalised,
    read_tables,
    tables_with_own,
    with_phrases,
)
from connector.settings import OutboundSettings

TABLES = keyword_tables()

OPT_OUT = [
    "STOP",
    "stop",
    "Stop.",
    "  stop  ",
    "STOP!!!",
    "*STOP*",
    "stop 🛑",
    "ＳＴＯＰ",
    "\u200estop\u200f",
    "STOP STOP STOP",
    "Please stop",
    "stop, thanks",
    "Unsubscribe",
    "UNSUBSCRIBE_ME",
    "opt-out",
    "Opt Out",
    "don't message me",
    "Don’t message me!",
    "dont message me",
    "توقف",
    "تَوَقَّفْ",
    "تـــوقـــف",
    "توقف من فضلك",
    "إيقاف",
    "ايقاف",
    "أوقف",
    "اوقف",
    "إلغاء الاشتراك",
    "الغاء الإشتراك",
    "إلغاء الإشتراك!",
    "لا أريد رسائل",
    "BAJA",
    "Baja, por favor",
    "dar de baja",
    "No más mensajes",
    "no mas mensajes",
    "cancelar suscripcion",
    "SAIR",
    "Parar!",
    "nao quero receber mensagens",
    "Não quero receber mensagens.",
    "me descadastre, por favor",
    "ARRÊT",
    "arret",
    "Désabonner",
    "desabonner svp",
    "Je veux me désabonner",
    "Ne m'écrivez plus",
    "ne m’ecrivez plus !",
    "Abmelden",
    "Bitte abmelden",
    "STOPP!",
    "keine Nachrichten mehr",
    "बंद करो",
    "बंद करें।",
    "बन्द करो",
    "कृपया बंद करें",
    "मैसेज मत भेजो",
    "स्टॉप",
    "band karo please",
    "Berhenti",
    "berhenti berlangganan",
    "UNREG",
    "Tolong jangan kirim pesan lagi",
]


@pytest.mark.parametrize("text", OPT_OUT)
def test_this_ends_every_message(text: Any) -> None:
    """As it is typed on phones: capitals, bold, emoji, missing accents and marks, courtesies."""
    keyword = TABLES.recognise(text)
    assert keyword is not None
    assert keyword.action == "opt_out"


OPT_OUT_MARKETING = [
    "Stop promotions",
    "STOP_PROMOTIONS",
    "stop-promos",
    "No more promotions please",
    "إيقاف العروض",
    "ايقاف الاعلانات",
    "لا أريد إعلانات",
    "no quiero publicidad",
    "parar promoções",
    "PARAR PROMOCOES",
    "Stop pub",
    "plus de publicité",
    "Keine Werbung!",
    "bitte keine Werbung mehr",
    "ऑफ़र बंद करें",
    "ऑफर बंद करें",
    "विज्ञापन बंद करो",
    "stop promo",
    "jangan kirim promo lagi",
]


@pytest.mark.parametrize("text", OPT_OUT_MARKETING)
def test_this_ends_marketing(text: Any) -> None:
    """The label of a template's quick reply is one of them, and its payload too."""
    keyword = TABLES.recognise(text)
    assert keyword is not None
    assert keyword.action == "opt_out_marketing"


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("START", "opt_in"),
        ("Unstop", "opt_in"),
        ("ابدأ", "opt_in"),
        ("ابدا", "opt_in"),
        ("ALTA", "opt_in"),
        ("retomar", "opt_in"),
        ("Reprendre", "opt_in"),
        ("शुरू करें", "opt_in"),
        ("mulai", "opt_in"),
        ("Subscribe", "opt_in_marketing"),
        ("START PROMOTIONS", "opt_in_marketing"),
        ("اشتراك", "opt_in_marketing"),
        ("Quiero suscribirme", "opt_in_marketing"),
        ("m'abonner", "opt_in_marketing"),
        ("Angebote abonnieren", "opt_in_marketing"),
    ],
)
def test_this_asks_for_messages(text: Any, action: Any) -> None:
    """START lifts an opt-out; subscribing agrees to marketing."""
    keyword = TABLES.recognise(text)
    assert keyword is not None
    assert keyword.action == action


@pytest.mark.parametrize(
    "text",
    [
        "don't stop sending",
        "Don't stop!",
        "please don't stop",
        "no stop",
        "stop it at the bus stop",
        "bus stop",
        "stopp by tomorrow",
        "Can I stop by at 5?",
        "nonstop",
        "How do I unsubscribe?",
        "I do not want to unsubscribe",
        "cancel",
        "end",
        "no",
        "yes",
        "ok",
        "quit",
        "لا توقف",
        "لا تتوقف",
        "أين موقف الباص",
        "بدون توقف",
        "la planta baja",
        "no me des de baja",
        "alto voltaje",
        "não quero sair",
        "quero parar de fumar",
        "voltar",
        "continuar",
        "ne vous arrêtez pas",
        "arrêt de bus",
        "nicht abmelden",
        "bitte nicht stoppen",
        "weiter",
        "बंद मत करो",
        "दुकान बंद है",
        "रुको",
        "jangan berhenti",
        "kapan berhenti?",
        "lanjutkan",
        "start the car",
        "when does it start",
        "s t o p",
        "st0p",
        "🛑",
        "...",
        "",
        "please",
        "stop " * 40,
    ],
)
def test_this_says_nothing_about_consent(text: Any) -> None:
    """Near misses, answers to other questions, menu words: never guessed."""
    assert TABLES.recognise(text) is None


@pytest.mark.parametrize("language", ["en", "ar", "es", "pt", "fr", "de", "hi", "id"])
def test_a_language_has_every_action_and_a_confirmation_that_says_how_to_undo_it(language: Any) -> None:
    """What a confirmation tells the person to write does what it says."""
    confirmations = TABLES.confirmations[language]
    assert set(confirmations) == set(ACTIONS)
    undone = {"opt_out": "opt_in", "opt_in": "opt_out", "opt_out_marketing": "opt_in_marketing"}
    undone["opt_in_marketing"] = "opt_out_marketing"
    for action, text in confirmations.items():
        offered = [
            keyword.action
            for words in _runs(normalised(text).split())
            if (keyword := TABLES.recognise(words)) is not None
        ]
        assert undone[action] in offered, text


def _runs(words: list[str]) -> list[str]:
    return [" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(len(words), i + 4) + 1)]


def test_each_phrase_is_recognised_as_it_stands_in_the_table() -> None:
    """Normalising a phrase twice changes nothing."""
    assert all(normalised(phrase) == phrase for phrase in TABLES.phrases)
    assert all(TABLES.recognise(phrase) == keyword for phrase, keyword in TABLES.phrases.items())


@pytest.mark.parametrize(
    ("text", "languages", "answered"),
    [
        ("BAJA", ["en_US"], "es"),
        ("STOP", ["pt_BR", "en_US"], "pt"),
        ("STOP", ["nl"], "en"),
        ("STOP", [], "en"),
        ("parar", ["pt_PT"], "pt"),
        ("parar", ["es_MX"], "es"),
        ("توقف", ["en"], "ar"),
        ("band karo", ["en"], "hi"),
    ],
)
def test_a_keyword_is_answered_in_its_own_language_or_the_persons(
    text: Any, languages: Any, answered: Any
) -> None:
    """STOP is written by people of every language."""
    keyword = TABLES.recognise(text)
    assert keyword is not None
    language, words = TABLES.confirmation(keyword, languages=languages)
    assert (language, words) == (answered, TABLES.confirmations[answered][keyword.action])


def test_a_business_adds_words_of_its_own() -> None:
    """And they are found like the others."""
    tables = with_phrases(TABLES, {"opt_out": ["Cancel", "Ende"]})
    keyword = tables.recognise("CANCEL!")
    assert keyword is not None
    assert keyword.action == "opt_out"
    assert TABLES.recognise("cancel") is None


@pytest.mark.parametrize(
    "phrases", [{"opt_in": ["STOP"]}, {"opt_out": ["🛑"]}, {"opt_out": ["x" * (LONGEST_PHRASE + 1)]}]
)
def test_a_phrase_that_cannot_be_meant_is_refused(phrases: Any) -> None:
    """One that means two things, says nothing, or is longer than what is looked at."""
    with pytest.raises(ValueError, match="keyword"):
        with_phrases(TABLES, phrases)


def test_a_language_without_a_confirmation_is_refused() -> None:
    """Nobody who says stop is left without an answer."""
    with pytest.raises(ValueError, match="confirmation"):
        read_tables({"xx": {"opt_out": ["halt"], "confirmations": {}}})


def test_words_of_the_settings_are_added_and_a_wrong_one_is_refused_at_start() -> None:
    """By the name of the variable."""
    keyword = tables_with_own(OutboundSettings(opt_out_words=["Cancel"])).recognise("cancel")
    assert keyword is not None
    assert keyword.action == "opt_out"
    with pytest.raises(SettingsError, match="OPT_OUT_WORDS"):
        tables_with_own(OutboundSettings(opt_in_words=["STOP"]))
