"""Word lists of the demo shop: brands, kinds, units and the spellings its staff use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of product. base: median price in currency units of `typical` units of it; sizes in grams, millilitres or pieces.

    elasticity: exponent of the quantity in the price. names: English first, then other languages. shape: how its pack is drawn.
    """

    names: tuple[str, ...]
    base: float
    family: str
    sizes: tuple[float, ...]
    flavours: tuple[str, ...]
    shape: str
    elasticity: float = 0.75

    @property
    def typical(self) -> float:
        return self.sizes[len(self.sizes) // 2]


_FRUIT = ("Lemon", "Orange", "Wild Berry", "Mango", "Peach", "Unflavored")
_SCENT = ("Lavender", "Sandalwood", "Fresh Linen", "Sea Breeze", "Unscented")
_COLOUR = ("Black", "White", "Navy", "Olive", "Graphite")
_PLAIN = ("Classic", "Original", "Natural", "Selected")
_ROAST = ("Dark Roast", "Medium Roast", "Espresso", "Decaf", "Vanilla")

KINDS = (
    Kind(("Coffee Beans", "Kaffeebohnen", "Café en grano"), 14, "weight", (250, 340, 500, 1000), _ROAST, "pouch"),
    Kind(("Green Tea", "Grüner Tee", "Thé vert"), 8, "count", (20, 25, 50, 100), _FRUIT, "box"),
    Kind(("Extra Virgin Olive Oil", "Aceite de oliva", "Olio d'oliva"), 16, "volume", (250, 500, 750, 1000), _PLAIN,
         "bottle"),
    Kind(("Dark Chocolate Bar", "Zartbitterschokolade"), 4, "weight", (40, 85, 100, 200),
         ("70%", "85%", "Sea Salt", "Mint"), "box"),
    Kind(("Granola", "Knuspermüsli", "Muesli croustillant"), 6, "weight", (300, 340, 500), _FRUIT, "pouch"),
    Kind(("Penne Pasta", "Pasta di semola"), 3, "weight", (250, 454, 500, 1000), ("Whole Wheat", *_PLAIN), "box"),
    Kind(("Raw Honey", "Miel cruda", "Blütenhonig"), 11, "weight", (227, 340, 454, 907),
         ("Clover", "Acacia", "Manuka"), "can"),
    Kind(("Protein Bars", "Eiweißriegel"), 22, "count", (6, 12, 18), ("Chocolate", "Peanut Butter", "Cookie Dough"),
         "box"),
    Kind(("Sea Salt", "Meersalz", "Fleur de sel"), 5, "weight", (113, 227, 454), ("Fine", "Coarse", "Smoked"), "can"),
    Kind(("Almond Butter", "Mandelmus"), 12, "weight", (170, 340, 454), ("Smooth", "Crunchy", "No Salt"), "can"),
    Kind(("Hot Sauce", "Salsa picante"), 7, "volume", (59, 148, 296), ("Habanero", "Chipotle", "Jalapeño"), "bottle"),
    Kind(("Basmati Rice", "Basmatireis", "Arroz basmati"), 9, "weight", (454, 907, 2268, 4536), _PLAIN, "pouch"),
    Kind(("Sparkling Water", "Mineralwasser", "Acqua frizzante"), 2, "volume", (250, 330, 500, 1000), _FRUIT, "can"),
    Kind(("Dry Dog Food", "Hundefutter"), 28, "weight", (907, 2268, 6804, 13608), ("Chicken", "Salmon", "Lamb"),
         "pouch"),
    Kind(("Vitamin D3 Capsules", "Vitamin D3 Kapseln"), 15, "count", (60, 90, 120, 365),
         ("1000 IU", "2000 IU", "5000 IU"), "bottle"),
    Kind(("Saffron Threads", "Azafrán en hebras", "Safranfäden"), 19, "weight", (1, 2, 5, 10), ("Grade I", "Grade II"),
         "box", 0.9),
    Kind(("Shampoo", "Champú"), 9, "volume", (200, 355, 500, 1000), _SCENT, "bottle"),
    Kind(("Laundry Detergent", "Vollwaschmittel"), 17, "volume", (1000, 1500, 2950, 4430), _SCENT, "bottle"),
    Kind(("AA Batteries", "Batterien AA"), 9, "count", (4, 8, 24, 48), ("Alkaline", "Rechargeable", "Lithium"), "box"),
    Kind(("Soy Candle", "Duftkerze", "Candela profumata"), 18, "weight", (85, 198, 340), _SCENT, "can"),
    Kind(("Notebook", "Notizbuch", "Cuaderno"), 8, "count", (1, 3, 5), _COLOUR, "box"),
    Kind(("Backpack", "Rucksack"), 58, "count", (1,), _COLOUR, "pouch"),
    Kind(("LED Desk Lamp", "Schreibtischlampe"), 42, "count", (1,), _COLOUR, "box"),
    Kind(("Wireless Headphones", "Kabellose Kopfhörer"), 95, "count", (1,), _COLOUR, "box"),
    Kind(("Espresso Machine", "Siebträgermaschine"), 480, "count", (1,), _COLOUR, "box"),
)  # fmt: skip

_STARTS = (
    "Alder", "Bright", "Cedar", "Dune", "Ember", "Fern", "Golden", "Harbor", "Indigo", "Juniper", "Kestrel", "Lumen",
    "Maple", "North", "Orchard", "Pine",
)  # fmt: skip
_ENDS = (
    "field wood & Sons", "well", "crest", "Foods", "ville", "stone Co.", "mark", "haus", "brook", "Trading", "line",
    "Naturals", "& Vine", "works",
)  # fmt: skip
BRANDS = tuple(f"{start}{'' if end[0].islower() else ' '}{end}" for end in _ENDS for start in _STARTS)

UNITS: dict[str, tuple[tuple[str, float], ...]] = {
    "weight": (
        ("oz", 28.35), ("Ounce", 28.35), ("ounce", 28.35), ("OZ", 28.35), ("oz.", 28.35), ("g", 1.0), ("gr", 1.0),
        ("Gramm", 1.0), ("lb", 453.6), ("Pound", 453.6), ("kg", 1000.0),
    ),
    "volume": (
        ("Fl Oz", 29.57), ("fl. oz", 29.57), ("fl oz", 29.57), ("FL OZ", 29.57), ("Fluid Ounce", 29.57), ("ml", 1.0),
        ("mL", 1.0), ("millilitro", 1.0), ("Liter", 1000.0), ("L", 1000.0),
    ),
    "count": (
        ("Count", 1.0), ("count", 1.0), ("ct", 1.0), ("CT", 1.0), ("stück", 1.0), ("unità", 1.0), ("pcs", 1.0),
        ("Each", 1.0), ("pieces", 1.0),
    ),
}  # fmt: skip
"""Spellings of units and how many grams, millilitres or pieces one is."""

ODD_UNITS = ("None", "product_weight", "", "---", "unit")

PACKS = ("(Pack of {n})", "{n} Pack", "{n}-Pack", "{n} pck", "Case of {n}", "- {n} Pk", "lot de {n}", "{n}er Pack")

ADJECTIVES = (
    "Organic", "Premium", "Gourmet", "Non-GMO", "Family Size", "Artisan", "All Natural", "Fair Trade", "Gluten Free",
    "Eco", "Everyday", "Heritage", "Handmade", "New", "Travel",
)  # fmt: skip

CLAIMS = (
    "Made in small batches and packed on the day it is finished",
    "KOSHER & VEGAN: no animal products, no artificial colours",
    "✔️ Satisfaction guaranteed, or your money back",
    "Great gift for birthdays, housewarmings and the holidays",
    "Perfect for home, office and travel",
    "Recyclable packaging; please rinse before recycling",
    "No additives or preservatives",
    "Sin gluten, sin lactosa, apto para veganos",
    "Ohne Zusatzstoffe, sorgfältig verpackt",
    "Family owned since 1974",
    "Store in a cool, dry place away from direct sunlight",
    "EASY TO USE: open, enjoy, close again",
    "Trusted by professionals &amp; beginners alike",
    "Sourced directly from growers and makers that we know",
    "Consistent quality, checked by an independent laboratory",
)

SENTENCES = (
    "{brand} has been making {kind} with patience and good ingredients for three generations.",
    "Every order of our {kind} is inspected by hand before it leaves the house.",
    "Customers tell us that {flavour} is the one they come back for.",
    "It goes well with a quiet morning, a busy kitchen and friends who drop in unannounced.",
    "We publish the origin of each batch and answer every question about it.",
    "Please read the label before use; pictures may differ from the delivered item.",
    "Unser Versprechen: gleichbleibende Qualität und ehrliche Angaben.",
    "Disfrute de un producto elaborado con cuidado y respeto por la tradición.",
    "Un prodotto semplice, fatto bene, da persone che lo usano ogni giorno.",
    "Keep it closed and it will stay as good as on the first day.",
    "Our team packs with as little plastic as we can.",
)
