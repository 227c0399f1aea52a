"""What `soprano-api verify` reads aloud when it is given no text."""

from typing import Final

SENTENCES: Final = (
    "The harbour was quiet when the last boat came in.",
    "Could you tell me which platform the train to Leeds leaves from?",
    "It costs $24.50 on weekdays and $31 on Saturdays.",
    "My grandmother, who never learned to swim, bought a house by the sea.",
    "Doctor Okafor will see you at 4:15 p.m. in room 208.",
    "Stop! The bridge is closed.",
    "In 1969, two people walked on the moon while a third flew around it.",
    "She whispered the answer so softly that only the cat heard it.",
    "Turn left at the bakery, cross the square, and ring the second bell.",
    "Nobody expected the orchestra to play on after the lights went out.",
    "What a strange and wonderful idea that was!",
    "The recipe needs 3 eggs, 250 grams of flour and a pinch of salt.",
    "Mr. Nakamura and Ms. O'Brien share an office on the fifth floor.",
    "If it rains tomorrow, we will move the wedding into the barn.",
    "Photosynthesis turns sunlight, water and carbon dioxide into sugar.",
    "He counted: one, two, three, and then he lost his place again.",
    "Why do cats always land on their feet, and dogs never even try?",
    "The committee approved the budget by 7 votes to 2.",
    "Yesterday's newspaper lay open on the kitchen table.",
    "Please leave your name and number after the tone, and we will call you back.",
    "The glacier has shrunk by 12% since the survey of 1985.",
    "Thick fog rolled over the moor, swallowing fences, sheep and finally the road itself.",
    "Well, I suppose you are right, although I would not say so in public.",
    "Her flight from Reykjavik to Buenos Aires took nineteen hours and two stops.",
    (
        "Every evening the old clockmaker wound all forty clocks, one after the other, and every "
        "morning he found that no two of them agreed on the time."
    ),
    "The password must have at least eight characters.",
    "Is that your umbrella, or did someone forget theirs?",
    "A violin, a broken drum and two spoons were all the instruments they had.",
    "Version 2.4 fixes the problem with the printer.",
    "The judge asked for silence, waited a moment, and began to read the verdict.",
    "They were late, hungry and thoroughly lost; still, nobody wanted to ask for directions.",
    "Half of the apples were red, a third were green, and the rest had been eaten.",
    "I have told you a thousand times: do not feed the geese.",
    "The laboratory measured a temperature of minus 40 degrees that night.",
    "Quick, quiet and careful, the fox crossed the frozen pond.",
    (
        "When the power came back at 3 a.m., every machine in the factory started at once, and the "
        "night watchman, who had been asleep, thought that the world was ending."
    ),
    "Chapter 11 explains how bees find their way home.",
    "Thank you for waiting. Your table is ready, and the kitchen is open until ten.",
    "Isabella, Zhang Wei and Sven finished the puzzle before breakfast.",
    "All rivers run to the sea, and yet the sea is never full.",
)
"""Numbers, names, questions and exclamations, from four words to two lines."""
