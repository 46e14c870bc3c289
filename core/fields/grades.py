"""Grade word table: quality, material and audience words in names. To teach a word, add it to its line.

Each line is a number field: 1 where the name or the kind holds one of the words, else 0. `_` joins the words of a phrase of two.
"""

from __future__ import annotations

import re
from itertools import pairwise

_TABLE = {
    "is_organic": "organic bio biologisch ökologisch biologique biologico biológico ecológico orgánico demeter",
    "is_free_of": "vegan keto kosher halal paleo vegano gluten_free sugar_free dairy_free non_gmo low_carb fat_free"
    " cruelty_free glutenfrei zuckerfrei sans_gluten sans_sucre sin_gluten sin_azúcar senza_glutine senza_zuccheri",
    "is_premium": "premium deluxe luxury luxe gourmet artisan artisanal handmade handcrafted hand_crafted finest"
    " superior prestige elite signature couture professional grand_cru haute luxus exklusiv handgemacht artesanal"
    " artigianale",
    "is_rare": "limited exclusive rare collector collectors collection anniversary commemorative special_edition"
    " special_release numbered one_off limitiert limitée limitada limitata",
    "is_aged": "reserve reserva riserva réserve vintage aged matured antique xo vsop añejo anejo extra_old cask barrel"
    " casks barrels",
    "is_single": "single_malt single_cask single_barrel single_origin single_estate single_vineyard single_pot",
    "is_strong": "cask_strength barrel_proof barrel_strength full_proof overproof navy_strength extra_strength"
    " maximum_strength heavy_duty concentrate concentrated industrial",
    "is_mixed": "blended blend assorted assortment variety sampler mixed sortiment assortiment surtido assortito",
    "is_precious": "gold silver sterling platinum diamond diamonds pearl sapphire ruby titanium 14k 18k 24k or oro"
    " argento",
    "is_noble": "leather suede silk cashmere wool merino linen down velvet solid_wood solid_oak hardwood oak walnut"
    " teak mahogany marble granite stainless leder seide wolle massivholz eiche cuir soie laine chêne cuero seda lana"
    " pelle seta",
    "is_plain": "plastic polyester acrylic particleboard mdf laminate vinyl faux imitation synthetic kunststoff"
    " plastique",
    "is_used": "refurbished renewed reconditioned used preowned pre_owned second_hand open_box gebraucht"
    " generalüberholt reconditionné occasion reacondicionado usado ricondizionato usato",
    "is_gift": "gift gifts basket hamper geschenk geschenkset cadeau coffret regalo presente",
    "is_bulk": "bulk wholesale economy catering family_size value_size value_pack party_size food_service großpackung"
    " vrac",
    "is_small": "mini miniature miniatures small petite travel_size sample tester trial nano klein kleine petit"
    " pequeño piccolo",
    "is_large": "large xl xxl big jumbo giant oversized king queen magnum mega groß große grand grande gigante",
    "for_children": "kids kid children child baby babies toddler infant junior boys girls kinder enfant enfants niños"
    " bambini",
    "for_women": "women womens woman ladies lady female damen femme femmes mujer mujeres donna",
    "for_men": "men mens man male gentlemen herren homme hommes hombre hombres uomo",
}
"""Field to its words in lower case."""
GRADES: tuple[str, ...] = tuple(_TABLE)
"""The number fields of grade words."""

_FIELD_OF = {word.replace("_", " "): field for field, words in _TABLE.items() for word in words.split()}
_WORD = re.compile(r"[^\W_]+")


def read_grades(*texts: str) -> dict[str, float]:
    """Every field of GRADES, 1.0 where one of the texts (in lower case) holds one of its words, else 0.0.

    Hyphens and apostrophes part words: `gluten-free` is the phrase `gluten free`, `men's` holds `men`.
    """
    found = dict.fromkeys(GRADES, 0.0)
    for text in texts:
        words = _WORD.findall(text)
        for term in (*words, *map(" ".join, pairwise(words))):
            if term in _FIELD_OF:
                found[_FIELD_OF[term]] = 1.0
    return found
