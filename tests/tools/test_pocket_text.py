"""The text encoder learns the order of words, and stays near what it was."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from tools.pocket.components import build_text_encoder, load_component
from tools.pocket.tokenizer import FILE, find_tokenizer
from tools.pocket.train_text import NeighbourHeads, TextTraining, build_optimizers, caption_ids
from wanvideo.models.text_encoder import PromptTokenizer

RELEASE = Path(__file__).parents[2] / "models" / "pocket"


@torch.no_grad()
def test_heads_read_each_neighbour_and_leave_out_the_ends() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[5, 6, 7, 8, 0], [9, 10, 1, 0, 0]])
    heads = NeighbourHeads()
    rows = torch.nn.functional.one_hot(torch.arange(10).view(2, 5), 128).float()
    for head, offset in zip(heads.heads, (-3, -2, -1, 1, 2, 3), strict=True):
        torch.nn.init.zeros_(head.bias)
        torch.nn.init.zeros_(head.weight)
        for row in range(2):
            for place in range(5):
                if 0 <= place + offset < 5:
                    head.weight.data[ids[row, place + offset], 5 * row + place] = 20.0
    loss, right = heads(rows, ids)
    assert float(right) == 1.0 and float(loss) < 1e-3
    shuffled, _ = heads(rows, ids.flip(1).contiguous())
    assert float(shuffled) > 1.0


def test_weights_that_go_on_keep_their_tokenizer(tmp_path: Path) -> None:
    taken = find_tokenizer(tmp_path / "run", RELEASE, seed=1)
    assert taken.read_bytes() == (RELEASE / FILE).read_bytes()
    own = tmp_path / "own" / FILE
    own.parent.mkdir()
    own.write_bytes(b"its own")
    assert find_tokenizer(own.parent, RELEASE, seed=1).read_bytes() == b"its own"


def test_training_lowers_the_loss_and_counts_the_distance() -> None:
    torch.manual_seed(0)
    ids = caption_ids(PromptTokenizer.from_file(RELEASE / "spiece.model"), seed=3, count=24)
    encoder, before = build_text_encoder(), build_text_encoder().requires_grad_(False)
    before.load_state_dict(encoder.state_dict())
    training = TextTraining(encoder=encoder, before=before, heads=NeighbourHeads())
    optimizers = build_optimizers(encoder, training.heads)
    first = training.losses(ids)
    assert float(first["moved"].detach()) < 1e-9
    for _ in range(12):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        training.losses(ids)["neighbours"].backward()
        for optimizer in optimizers:
            optimizer.step()
    last = training.losses(ids)
    assert float(last["neighbours"].detach()) < 0.95 * float(first["neighbours"].detach())
    assert float(last["moved"].detach()) > 0.0


@torch.no_grad()
def test_the_shipped_encoder_tells_whose_colour_a_word_is() -> None:
    encoder = build_text_encoder().eval()
    load_component(encoder, RELEASE, "pocket_umt5")
    tokenizer = PromptTokenizer.from_file(RELEASE / "spiece.model")

    def rows(text: str) -> torch.Tensor:
        hidden: torch.Tensor = encoder(input_ids=torch.tensor([tokenizer.encode(text)])).last_hidden_state[0]
        return hidden

    one = rows("an orange square bounces in front of a purple wall")
    other = rows("a purple square bounces in front of an orange wall")
    orange_square, orange_wall = one[1], other[8]
    difference = (orange_square - orange_wall).norm() / orange_square.norm()
    assert float(difference) > 0.3, "a bag of words: the features of a colour do not know what it colours"


def test_the_shipped_file_is_half_precision() -> None:
    assert {tensor.dtype for tensor in load_file(RELEASE / "pocket_umt5.safetensors").values()} == {
        torch.float16
    }
