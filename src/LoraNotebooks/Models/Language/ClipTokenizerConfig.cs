using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Language;

/// <summary>A token that is found in a text as it stands, before the text is split into words.</summary>
/// <param name="Content">The token.</param>
/// <param name="Normalized">Whether it is looked for in the normalized text rather than in the text as given.</param>
internal sealed record SpecialToken(string Content, bool Normalized)
{
    /// <summary>Cuts a text at every occurrence of the tokens; at one place the longest token wins.</summary>
    public static IEnumerable<(string Piece, bool Special)> Split(string text, IEnumerable<SpecialToken> tokens)
    {
        var contents = tokens.Select(token => token.Content).Distinct().OrderByDescending(content => content.Length).ToList();
        var start = 0;
        for (var i = 0; i < text.Length;)
        {
            var match = contents.Find(content => string.CompareOrdinal(text, i, content, 0, content.Length) == 0);
            if (match is null)
            {
                i++;
                continue;
            }

            if (i > start)
            {
                yield return (text[start..i], false);
            }

            yield return (match, true);
            start = i += match.Length;
        }

        if (start < text.Length)
        {
            yield return (text[start..], false);
        }
    }
}

/// <summary>What <c>tokenizer_config.json</c> and <c>special_tokens_map.json</c> say of a CLIP tokenizer.</summary>
internal sealed record ClipTokenizerConfig
{
    /// <summary>Readable JSON: characters outside ASCII stay as they are.</summary>
    public static readonly JsonSerializerOptions Unescaped = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Upstream writes 1e30 for "no limit"; then the text encoder's 77 positions are the limit. Damaged files have other large numbers.</summary>
    private const int LongestText = 100_000;

    private static readonly JsonSerializerOptions Indented = new(Unescaped) { WriteIndented = true };

    /// <summary>Padded length in tokens; 77 is CLIP's.</summary>
    public int ModelMaxLength { get; init; } = 77;

    public bool LowerCase { get; init; } = true;

    public SpecialToken Bos { get; init; } = new(ClipTokenizer.StartOfText, true);

    public SpecialToken Eos { get; init; } = new(ClipTokenizer.EndOfText, true);

    public SpecialToken Unknown { get; init; } = new(ClipTokenizer.EndOfText, true);

    public SpecialToken Pad { get; init; } = new(ClipTokenizer.EndOfText, true);

    public IEnumerable<SpecialToken> SpecialTokens => [Bos, Eos, Unknown, Pad];

    public static ClipTokenizerConfig FromFolder(string folder)
    {
        var settings = ReadObject(Path.Combine(folder, "tokenizer_config.json"));
        var map = ReadObject(Path.Combine(folder, "special_tokens_map.json"));
        var defaults = new ClipTokenizerConfig();

        var length = settings["model_max_length"] is JsonValue value && value.TryGetValue<double>(out var number) ? number : double.PositiveInfinity;
        return new ClipTokenizerConfig
        {
            ModelMaxLength = length is >= 2 and <= LongestText ? (int)length : defaults.ModelMaxLength,
            LowerCase = settings["do_lower_case"] is not JsonValue lower || !lower.TryGetValue<bool>(out var flag) || flag,
            Bos = Read(map["bos_token"] ?? settings["bos_token"], defaults.Bos),
            Eos = Read(map["eos_token"] ?? settings["eos_token"], defaults.Eos),
            Unknown = Read(map["unk_token"] ?? settings["unk_token"], defaults.Unknown),
            Pad = Read(map["pad_token"] ?? settings["pad_token"], defaults.Pad),
        };
    }

    public void Save(string folder)
    {
        var settings = new JsonObject
        {
            ["add_prefix_space"] = false,
            ["bos_token"] = Bos.Content,
            ["do_lower_case"] = LowerCase,
            ["eos_token"] = Eos.Content,
            ["errors"] = "replace",
            ["model_max_length"] = ModelMaxLength,
            ["pad_token"] = Pad.Content,
            ["tokenizer_class"] = "CLIPTokenizer",
            ["unk_token"] = Unknown.Content,
        };
        var map = new JsonObject { ["bos_token"] = Write(Bos), ["eos_token"] = Write(Eos), ["pad_token"] = Write(Pad), ["unk_token"] = Write(Unknown) };
        AtomicFile.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), settings.ToJsonString(Indented) + "\n");
        AtomicFile.WriteAllText(Path.Combine(folder, "special_tokens_map.json"), map.ToJsonString(Indented) + "\n");
    }

    // A token that upstream writes as a plain string is matched as it stands; a table says which.
    private static SpecialToken Read(JsonNode? node, SpecialToken absent) => node switch
    {
        JsonObject token => new(
            token["content"] is JsonValue content && content.TryGetValue<string>(out var text) ? text : absent.Content,
            token["normalized"] is JsonValue flag && flag.TryGetValue<bool>(out var normalized) && normalized),
        JsonValue value when value.TryGetValue<string>(out var plain) => new(plain, false),
        _ => absent,
    };

    private static JsonNode Write(SpecialToken token) => token.Normalized
        ? new JsonObject { ["content"] = token.Content, ["lstrip"] = false, ["normalized"] = true, ["rstrip"] = false, ["single_word"] = false }
        : JsonValue.Create(token.Content);

    private static JsonObject ReadObject(string path) => File.Exists(path) ? PythonJson.ReadObject(path) : [];
}
