using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Models.Language;

/// <summary>
/// CLIP's tokenizer: lower-cased byte-level byte-pair encoding with an end-of-word mark, read from and written to the folder
/// layout of Hugging Face's <c>CLIPTokenizer</c> (<c>vocab.json</c>, <c>merges.txt</c>, <c>tokenizer_config.json</c>,
/// <c>special_tokens_map.json</c>).
/// </summary>
/// <remarks>
/// Any text can be encoded, because every byte is a symbol of the vocabulary. The same class serves CLIP's 49,408 entries and
/// small vocabularies made by <see cref="Train"/>. Source: Radford et al. 2021 (arXiv:2103.00020), section 2.4, and
/// transformers' <c>tokenization_clip.py</c>.
/// </remarks>
public sealed class ClipTokenizer
{
    /// <summary>The token that begins a text.</summary>
    public const string StartOfText = "<|startoftext|>";

    /// <summary>The token that ends a text; also upstream's unknown token and, in Stable Diffusion 1.x, its padding.</summary>
    public const string EndOfText = "<|endoftext|>";

    private const int ByteSymbols = 512; // 256 bytes, and the same 256 at the end of a word
    private const int CachedWords = 65536;

    private readonly Dictionary<string, int> _vocabulary;
    private readonly Dictionary<int, string> _tokens = [];
    private readonly IReadOnlyList<(string Left, string Right)> _merges;
    private readonly Dictionary<(string Left, string Right), int> _ranks;
    private readonly ClipTokenizerConfig _config;
    private readonly ConcurrentDictionary<string, int[]> _cache = new(StringComparer.Ordinal);

    private ClipTokenizer(Dictionary<string, int> vocabulary, IReadOnlyList<(string Left, string Right)> merges, ClipTokenizerConfig config)
    {
        _vocabulary = vocabulary;
        _merges = merges;
        _config = config;
        _ranks = [];
        for (var i = 0; i < merges.Count; i++)
        {
            _ranks.TryAdd(merges[i], i);
        }

        VocabularySize = vocabulary.Values.Max() + 1;
        foreach (var (token, id) in vocabulary)
        {
            _tokens[id] = token;
        }

        BosTokenId = vocabulary[config.Bos.Content];
        EosTokenId = vocabulary[config.Eos.Content];
        UnknownTokenId = vocabulary[config.Unknown.Content];
        PadTokenId = vocabulary[config.Pad.Content];
    }

    /// <summary>The length, in tokens, to which <see cref="Encode"/> pads and truncates (upstream's <c>model_max_length</c>; 77 for CLIP).</summary>
    public int ModelMaxLength => _config.ModelMaxLength;

    /// <summary>The number of rows that a text encoder's token embedding needs: the highest id plus one.</summary>
    public int VocabularySize { get; }

    /// <summary>The id of the token that begins a text.</summary>
    public long BosTokenId { get; }

    /// <summary>The id of the token that ends a text.</summary>
    public long EosTokenId { get; }

    /// <summary>The id that fills a text up to <see cref="ModelMaxLength"/>.</summary>
    public long PadTokenId { get; }

    /// <summary>The id of a symbol that the vocabulary lacks (impossible when it holds all bytes).</summary>
    public long UnknownTokenId { get; }

    /// <summary>Reads a tokenizer folder.</summary>
    /// <param name="folder">A folder with <c>vocab.json</c> and <c>merges.txt</c>; the two configuration files are optional.</param>
    /// <exception cref="FileNotFoundException">A file is missing; the message names it.</exception>
    /// <exception cref="InvalidDataException">A file cannot be read as what it should be.</exception>
    public static ClipTokenizer FromFolder(string folder)
    {
        var vocabularyPath = Existing(folder, "vocab.json");
        var mergesPath = Existing(folder, "merges.txt");
        Dictionary<string, int>? vocabulary;
        try
        {
            vocabulary = JsonSerializer.Deserialize<Dictionary<string, int>>(File.ReadAllText(vocabularyPath));
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{vocabularyPath}: expected a JSON object of token to id: {error.Message}", error);
        }

        if (vocabulary is null || vocabulary.Count == 0 || vocabulary.Values.Any(static id => id is < 0 or int.MaxValue))
        {
            throw new InvalidDataException(
                $"{vocabularyPath}: expected a JSON object of token to id, from 0 to {int.MaxValue - 1}, got no token or another id.");
        }

        var config = ClipTokenizerConfig.FromFolder(folder);
        if (config.SpecialTokens.Any(static token => token.Content.Length == 0))
        {
            throw new InvalidDataException($"The configuration of the tokenizer in {folder} names an empty special token, expected texts such as {EndOfText}.");
        }

        var lacking = config.SpecialTokens.Select(token => token.Content).Where(token => !vocabulary.ContainsKey(token)).Distinct().ToList();
        return lacking.Count == 0
            ? new ClipTokenizer(vocabulary, ReadMerges(mergesPath), config)
            : throw new InvalidDataException($"{vocabularyPath}: lacks the special tokens {Listing.Inline(lacking)} that the tokenizer's configuration names.");
    }

    /// <summary>This tokenizer with another padding token.</summary>
    /// <param name="token">A token of the vocabulary; OpenCLIP pads with <c>!</c>, whose id is 0.</param>
    /// <exception cref="ArgumentException">The vocabulary has no such token.</exception>
    public ClipTokenizer PaddedWith(string token) => _vocabulary.ContainsKey(token)
        ? new ClipTokenizer(_vocabulary, _merges, _config with { Pad = new(token, false) })
        : throw new ArgumentException($"Got the padding token '{token}', expected one of the vocabulary's {_vocabulary.Count} tokens.", nameof(token));

    /// <summary>Learns a small vocabulary from captions: each frequent word becomes one token, any other text splits into pieces down to bytes.</summary>
    /// <param name="corpus">The texts; a word counts as often as it occurs.</param>
    /// <param name="vocabularySize">
    /// The most entries, at least 514 (512 byte symbols and the two special tokens); fewer when every word has become one token.
    /// </param>
    /// <param name="modelMaxLength">The padded length in tokens, at least 2.</param>
    /// <exception cref="ArgumentOutOfRangeException">A size is too small.</exception>
    public static ClipTokenizer Train(IEnumerable<string> corpus, int vocabularySize, int modelMaxLength)
    {
        ArgumentNullException.ThrowIfNull(corpus);
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabularySize, ByteSymbols + 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(modelMaxLength, 2);
        var config = new ClipTokenizerConfig { ModelMaxLength = modelMaxLength };
        var counts = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var word in corpus.SelectMany(text => ClipPreTokenizer.Split(ClipPreTokenizer.Normalize(text, config.LowerCase))))
        {
            counts[word] = counts.GetValueOrDefault(word) + 1;
        }

        var merges = BytePairEncoding.Learn(counts, vocabularySize - ByteSymbols - 2);

        // Upstream's order: bytes, bytes at the end of a word, merges, special tokens. Two merges can spell one symbol.
        var symbols = BytePairEncoding.Alphabet.Select(pair => pair.Symbol.ToString()).ToList();
        string[] entries =
        [
            .. symbols, .. symbols.Select(symbol => symbol + BytePairEncoding.EndOfWord),
            .. merges.Select(pair => pair.Left + pair.Right).Distinct(), StartOfText, EndOfText,
        ];
        return new ClipTokenizer(entries.Select((entry, id) => (entry, id)).ToDictionary(pair => pair.entry, pair => pair.id), merges, config);
    }

    /// <summary>Encodes a text with begin and end tokens, truncated and padded to <see cref="ModelMaxLength"/> ids.</summary>
    /// <param name="text">Any text; the empty text gives begin, end and padding.</param>
    public long[] Encode(string text)
    {
        var ids = EncodeUnpadded(text);
        var padded = new long[ModelMaxLength];
        Array.Fill(padded, PadTokenId);
        var kept = Math.Min(ids.Length, ModelMaxLength);
        Array.Copy(ids, padded, kept);
        if (ids.Length > ModelMaxLength)
        {
            padded[^1] = EosTokenId;
        }

        return padded;
    }

    /// <summary>Encodes a text with begin and end tokens, neither truncated nor padded.</summary>
    /// <param name="text">Any text.</param>
    public long[] EncodeUnpadded(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<long> { BosTokenId };

        // As upstream: tokens that are matched as they stand first, the others in the normalized text between them.
        foreach (var (raw, rawSpecial) in SpecialToken.Split(text, _config.SpecialTokens.Where(token => !token.Normalized)))
        {
            if (rawSpecial)
            {
                ids.Add(_vocabulary[raw]);
                continue;
            }

            var normalized = ClipPreTokenizer.Normalize(raw, _config.LowerCase);
            foreach (var (piece, special) in SpecialToken.Split(normalized, _config.SpecialTokens.Where(token => token.Normalized)))
            {
                ids.AddRange(special ? [_vocabulary[piece]] : ClipPreTokenizer.Split(piece).SelectMany(EncodeWord).Select(id => (long)id));
            }
        }

        ids.Add(EosTokenId);
        return [.. ids];
    }

    /// <summary>The text of ids: words separated by single spaces, special tokens left out.</summary>
    /// <param name="ids">Ids of this vocabulary.</param>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(IEnumerable<long> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var special = _config.SpecialTokens.Select(token => token.Content).ToHashSet(StringComparer.Ordinal);
        return BytePairEncoding.Text(ids.Select(Token).Where(token => !special.Contains(token)));
    }

    /// <summary>The vocabulary's entry for an id, as it stands in <c>vocab.json</c>.</summary>
    /// <param name="id">An id from 0 to <see cref="VocabularySize"/> − 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">The id is not in the vocabulary.</exception>
    public string Token(long id) => id >= 0 && id < VocabularySize && _tokens.TryGetValue((int)id, out var token)
        ? token
        : throw new ArgumentOutOfRangeException(nameof(id), id, $"Expected an id of the vocabulary, 0 to {VocabularySize - 1}.");

    /// <summary>Writes the folder that <see cref="FromFolder"/> and transformers' <c>CLIPTokenizer</c> read.</summary>
    /// <param name="folder">Created where it is missing; its tokenizer files are replaced.</param>
    public void Save(string folder)
    {
        Directory.CreateDirectory(folder);
        var entries = new JsonObject(_vocabulary.OrderBy(entry => entry.Value).Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)entry.Value)));
        AtomicFile.WriteAllText(Path.Combine(folder, "vocab.json"), entries.ToJsonString(ClipTokenizerConfig.Unescaped));
        var lines = _merges.Select(pair => $"{pair.Left} {pair.Right}\n");
        AtomicFile.WriteAllText(Path.Combine(folder, "merges.txt"), $"#version: 0.2\n{string.Concat(lines)}");
        _config.Save(folder);
    }

    private int[] EncodeWord(string word)
    {
        if (_cache.TryGetValue(word, out var known))
        {
            return known;
        }

        int[] ids = [.. BytePairEncoding.Merge(word, _ranks).Select(symbol => _vocabulary.GetValueOrDefault(symbol, (int)UnknownTokenId))];
        if (_cache.Count < CachedWords)
        {
            _cache.TryAdd(word, ids);
        }

        return ids;
    }

    private static List<(string Left, string Right)> ReadMerges(string path)
    {
        var merges = new List<(string Left, string Right)>();
        var number = 0;
        foreach (var line in File.ReadLines(path))
        {
            number++;
            if (line.Length == 0 || (number == 1 && line.StartsWith("#version", StringComparison.Ordinal)))
            {
                continue;
            }

            merges.Add(line.Split(' ') is [var left, var right]
                ? (left, right)
                : throw new InvalidDataException($"{path}, line {number}: expected two symbols with one space between them, got \"{line}\"."));
        }

        return merges;
    }

    private static string Existing(string folder, string name)
    {
        var path = Path.Combine(folder, name);
        return File.Exists(path)
            ? path
            : throw new FileNotFoundException($"The tokenizer folder {folder} lacks {name}. A CLIP tokenizer needs vocab.json and merges.txt.", path);
    }
}
