import json

from rag_assets.anchors import KEY, anchor_of
from rag_assets.parsing.html import parse_html

PAGE = b"""<html><head><title>Guide</title></head><body><main>
<h1 id="top">Guide</h1><p>What this printer is for, and for whom it was made and sold.</p>
<section id="setup"><h2>Setup</h2><p>Put it on a firm table near a window and plug it in.</p>
<h3><a name="paper"></a>Notes</h3><p>Paper of eighty grams feeds best into the lower tray.</p>
</section>
<h2>Repair<a class="headerlink" href="#repair" id="repair"></a></h2>
<p>Open the left door and pull the green lever towards you slowly.</p>
<h3>Notes</h3><p>Nobody but the owner of the machine may open the rear door.</p>
</main></body></html>"""


def test_sections_are_known_by_the_anchor_that_leads_to_them():
    parsed = parse_html(PAGE, "guide.html")
    anchors = parsed.metadata[KEY]
    assert json.loads(anchors).items() >= {
        ("Guide", "top"),
        ("Guide\nSetup", "setup"),
        ("Guide\nRepair", "repair"),
    }
    assert anchor_of(anchors, ["Guide", "Setup", "Notes"]) in {"paper", "setup"}
    assert anchor_of(anchors, ["Guide", "Repair", "Notes"]) == "repair"
    assert anchor_of(anchors, ["Other"]) is None


def test_a_page_without_anchors_says_nothing_of_them():
    page = b"<html><body><h1>Guide</h1><p>Some words about a printer.</p></body></html>"
    assert KEY not in parse_html(page, "guide.html").metadata
