using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Models.Original;

/// <summary>
/// A text encoder of an original checkpoint: either transformers' CLIP under its own names (Stable Diffusion 1.x, SDXL's first), or
/// OpenCLIP, which has query, key and value in one tensor (2.x, SDXL's second).
/// </summary>
/// <remarks>Source: mlfoundations/open_clip, open_clip/transformer.py; Stability-AI/stablediffusion, ldm/modules/encoders/modules.py.</remarks>
internal sealed class OriginalText
{
    private const string TextModel = "text_model.";
    private const int HeadSize = 64;
    private const int LayersOfViTH = 24;
    private const int HighestIdEnds = 2;

    private static readonly string[] Prefixes = ["cond_stage_model.", "conditioner.embedders."];

    private static readonly Dictionary<string, string> LayerParts = new(StringComparer.Ordinal)
    {
        ["layer_norm1"] = "ln_1",
        ["layer_norm2"] = "ln_2",
        ["mlp.fc1"] = "mlp.c_fc",
        ["mlp.fc2"] = "mlp.c_proj",
        ["self_attn.out_proj"] = "attn.out_proj",
    };

    private static readonly string[] Projections = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

    private readonly OriginalCheckpoint _checkpoint;
    private readonly string _prefix;
    private readonly bool _isOpen;

    private OriginalText(OriginalCheckpoint checkpoint, string prefix, bool isOpen) =>
        (_checkpoint, _prefix, _isOpen) = (checkpoint, prefix, isOpen);

    /// <summary>Whether a tensor belongs to a text encoder.</summary>
    public static bool IsOfText(string key) => Prefixes.Any(prefix => key.StartsWith(prefix, StringComparison.Ordinal));

    /// <summary>The text encoders of a file: one, or SDXL's two.</summary>
    /// <exception cref="InvalidDataException">There is none of a kind that is known.</exception>
    public static IReadOnlyList<OriginalText> Find(OriginalCheckpoint checkpoint)
    {
        (string Prefix, bool IsOpen)[] known =
        [
            ("conditioner.embedders.0.transformer.", false), ("conditioner.embedders.1.model.", true),
            ("cond_stage_model.transformer.", false), ("cond_stage_model.model.", true),
        ];
        OriginalText[] found = [.. known.Where(kind => checkpoint.HasAny(kind.Prefix)).Select(kind => new OriginalText(checkpoint, kind.Prefix, kind.IsOpen))];
        return found.Length > 0
            ? found
            : throw new InvalidDataException(
                $"'{checkpoint.Path}' has no text encoder under a known name ({string.Join(", ", known.Select(static kind => kind.Prefix + "*"))}). "
                    + "Expected a whole Stable Diffusion model in one file; a file of the UNet alone, or of an adapter, is not one.");
    }

    /// <summary>Whether this is OpenCLIP alone, as in Stable Diffusion 2.x.</summary>
    public bool IsOfSd2 => _isOpen && _prefix.StartsWith(Prefixes[0], StringComparison.Ordinal);

    /// <summary>The architecture by the shapes; heads of size 64, as all of CLIP's text encoders have.</summary>
    /// <exception cref="InvalidDataException">Tensors that tell it are missing or of strange shapes.</exception>
    public ClipTextConfig Infer()
    {
        var layers = _checkpoint.Count(i => Layer(i) + (_isOpen ? ".ln_1.weight" : ".layer_norm1.weight"));

        // Stable Diffusion 2.x was trained on the states before the last of ViT-H's layers; its encoder there has one less.
        var used = IsOfSd2 && layers == LayersOfViTH ? layers - 1 : layers;
        var tokens = Place("text_model.embeddings.token_embedding.weight").Key;
        var width = _checkpoint.Size(tokens, 1);
        var hasProjection = _isOpen && !IsOfSd2;
        return new ClipTextConfig
        {
            VocabSize = _checkpoint.Size(tokens, 0),
            HiddenSize = width,
            NumHiddenLayers = used,
            NumAttentionHeads = Math.Max(width / HeadSize, 1),
            IntermediateSize = _checkpoint.Size(Layer(0) + (_isOpen ? ".mlp.c_fc.weight" : ".mlp.fc1.weight"), 0),
            MaxPositionEmbeddings = _checkpoint.Size(Place("text_model.embeddings.position_embedding.weight").Key, 0),
            EosTokenId = HighestIdEnds,
            HiddenAct = _isOpen ? "gelu" : "quick_gelu",
            HasProjection = hasProjection,
            ProjectionDim = hasProjection ? _checkpoint.Size(Place("text_projection.weight").Key, ^1) : width,
        };
    }

    /// <summary>Notes layers that the file has and an encoder of this architecture does not run.</summary>
    public void IgnoreLayersFrom(ClipTextConfig config)
    {
        if (IsOfSd2)
        {
            _checkpoint.Ignore(Layer(config.NumHiddenLayers) + ".");
        }
    }

    /// <summary>Where a parameter is.</summary>
    public OriginalTensor Place(string parameter)
    {
        if (!_isOpen)
        {
            var plain = _prefix + parameter;

            // Files of an older transformers lack the inner prefix.
            return new(
                _checkpoint.Has(plain)
                    ? plain
                    : _prefix + parameter.Replace(TextModel, "", StringComparison.Ordinal) is var older && _checkpoint.Has(older) ? older : plain);
        }

        switch (parameter)
        {
            case "text_projection.weight":
                return _checkpoint.Has(_prefix + parameter) ? new(_prefix + parameter) : new(_prefix + "text_projection", OriginalForm.Transposed);
            case "text_model.embeddings.token_embedding.weight":
                return new(_prefix + "token_embedding.weight");
            case "text_model.embeddings.position_embedding.weight":
                return new(_prefix + "positional_embedding");
        }

        var (module, kind) = (parameter[..parameter.LastIndexOf('.')], parameter[(parameter.LastIndexOf('.') + 1)..]);
        if (module == "text_model.final_layer_norm")
        {
            return new($"{_prefix}ln_final.{kind}");
        }

        // text_model.encoder.layers.<number>.<part>
        var pieces = module.Split('.', 5);
        var layer = $"{_prefix}transformer.resblocks.{pieces[3]}";
        var third = Array.IndexOf(Projections, pieces[4]);
        return third >= 0
            ? new($"{layer}.attn.in_proj_{kind}", OriginalForm.Third, third)
            : new($"{layer}.{LayerParts[pieces[4]]}.{kind}");
    }

    private string Layer(int number)
    {
        var path = _isOpen ? $"{_prefix}transformer.resblocks.{number}" : $"{_prefix}text_model.encoder.layers.{number}";
        return _isOpen || _checkpoint.HasAny(_prefix + TextModel) ? path : path.Replace(TextModel, "", StringComparison.Ordinal);
    }
}
