"""Published layouts of AU detectors: names and shapes of their tensors, written from the facts."""

RESNETS = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
}


SWINS = {
    "swin-t": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin-s": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin-b": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


TOKENS = {"resnet18": 512, "resnet50": 2048, "resnet101": 2048}


TOKENS |= {"swin-t": 768, "swin-s": 768, "swin-b": 1024}


def linear(name, out, wide, bias=True):
    return {f"{name}.weight": (out, wide)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name, size):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{k}": (size,) for k in kinds} | {f"{name}.num_batches_tracked": ()}


def layer_norm(name, size):
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def resnet_shapes(name):
    bottleneck, depths = RESNETS[name]
    shapes = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64)
    before = 64
    for i, depth in enumerate(depths):
        inner = 64 << i
        out = inner * 4 if bottleneck else inner
        for j in range(depth):
            at = f"layer{i + 1}.{j}"
            sides = (1, 3, 1) if bottleneck else (3, 3)
            wides = (before, inner, inner) if bottleneck else (before, inner)
            outs = (inner, inner, out) if bottleneck else (inner, out)
            for k, (side, wide, o) in enumerate(zip(sides, wides, outs, strict=True), 1):
                shapes[f"{at}.conv{k}.weight"] = (o, wide, side, side)
                shapes |= norm(f"{at}.bn{k}", o)
            if before != out:
                shapes[f"{at}.downsample.0.weight"] = (out, before, 1, 1)
                shapes |= norm(f"{at}.downsample.1", out)
            before = out
    return shapes


def swin_shapes(name):
    embed, depths, heads = SWINS[name]
    shapes = {"patch_embed.proj.weight": (embed, 3, 4, 4), "patch_embed.proj.bias": (embed,)}
    shapes |= layer_norm("patch_embed.norm", embed)
    for i, depth in enumerate(depths):
        c = embed << i
        for j in range(depth):
            at = f"layers.{i}.blocks.{j}"
            shapes |= layer_norm(f"{at}.norm1", c) | layer_norm(f"{at}.norm2", c)
            shapes |= linear(f"{at}.attn.qkv", 3 * c, c) | linear(f"{at}.attn.proj", c, c)
            shapes[f"{at}.attn.relative_position_bias_table"] = (169, heads[i])
            shapes[f"{at}.attn.relative_position_index"] = (49, 49)
            shapes |= linear(f"{at}.mlp.fc1", 4 * c, c) | linear(f"{at}.mlp.fc2", c, 4 * c)
            if i < 3 and j % 2:
                shapes[f"{at}.attn_mask"] = ((64, 16, 4)[i], 49, 49)
        if i < 3:
            shapes |= linear(f"layers.{i}.downsample.reduction", 2 * c, 4 * c, bias=False)
            shapes |= layer_norm(f"layers.{i}.downsample.norm", 4 * c)
    return shapes | layer_norm("norm", embed << 3)


def head_shapes(family, c, stage, n):
    is_open = family == "open-graphau"
    main = "main_" if is_open else ""
    shapes = {f"head.{main}sc": (n, c)} | ({"head.sub_sc": (14, c)} if is_open else {})
    for i in range(n):
        at = f"head.{main}class_linears.{i}"
        shapes |= linear(f"{at}.fc", c, c) | norm(f"{at}.bn", c)
    if stage == "anfl":
        shapes |= linear("head.gnn.U", c, c) | linear("head.gnn.V", c, c)
        return shapes | norm("head.gnn.bnv", n)
    for module in ("FAM", "ARM"):
        for letter, out in (("q", c // 2), ("k", c // 2), ("v", c)):
            shapes |= linear(f"head.edge_extractor.{module}.linear_{letter}", out, c)
    shapes |= linear("head.edge_extractor.edge_proj", c, c) | norm("head.edge_extractor.bn", n * n)
    for k in (0, 1):
        for part in ("U", "V", "A", "B", "E", "bnv", "bne"):
            at = f"head.gnn.graph_layers.{k}.{part}" if is_open else f"head.gnn.{part}{k + 1}"
            if part.startswith("bn"):
                shapes |= norm(at, n if part == "bnv" else n * n)
            else:
                shapes |= linear(at, c, c, bias=False)
    return shapes if is_open else shapes | linear("head.edge_fc", 4, c)


def shapes_of(family, backbone, stage, n):
    d = TOKENS[backbone]
    c = d // 2 if backbone in SWINS else d // 4
    of = swin_shapes if backbone in SWINS else resnet_shapes
    shapes = {f"backbone.{k}": v for k, v in of(backbone).items()}
    shapes |= linear("global_linear.fc", c, d) | norm("global_linear.bn", c)
    return shapes | head_shapes(family, c, stage, n)


def bn(y, state, name, axis, train):
    """Batch norm with ``axis`` as its channels."""
    others = [i for i in range(y.ndim) if i != axis]
    view = [-1 if i == axis else 1 for i in range(y.ndim)]
    if train:
        mean, var = y.mean(others), y.var(others, unbiased=False)
    else:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    y = (y - mean.view(view)) / (var.view(view) + 1e-5).sqrt()
    return y * state[f"{name}.weight"].view(view) + state[f"{name}.bias"].view(view)
