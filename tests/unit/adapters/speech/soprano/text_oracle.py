"""What the package soprano-tts itself would send to the model."""


def package_prompts(text: str) -> list[str]:
    from soprano.tts import SopranoTTS

    # The method reads nothing of its object; making one would load a model.
    return [prompt for prompt, *_ in SopranoTTS._preprocess_text(None, [text])]


def package_sentences(text: str) -> list[str]:
    return [
        prompt.removeprefix("[STOP][TEXT]").removesuffix("[START]")
        for prompt in package_prompts(text)
    ]


def sentences_or_error(text: str) -> list[str] | str:
    """The name of the error where the package raises one."""
    try:
        return package_sentences(text)
    except Exception as error:  # noqa: BLE001 - which one it is does not matter
        return type(error).__name__


def package_spelling(char: str) -> str:
    from unidecode import unidecode

    spelling: str = unidecode(char)
    return spelling
