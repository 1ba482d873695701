using System.Text.Json;
using LoraNotebooks.Models.Language;
using TorchSharp;

namespace LoraNotebooks.Tests.Models.Language;

public sealed class ClipTokenizerTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("clip-tokenizer-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    [Trait("Category", "Parity")]
    public void Encode_Sd15Cases_EqualUpstream()
    {
        var tokenizer = ClipTokenizer.FromFolder(Fixtures.Case("sd15-tiny", "tokenizer"));
        foreach (var sample in Fixtures.Json("sd15-tiny", "tokenizer_cases.json").GetProperty("cases").EnumerateArray())
        {
            var text = sample.GetProperty("text").GetString()!;
            Assert.Equal((text, Join(Ids(sample, "ids"))), (text, Join(tokenizer.EncodeUnpadded(text))));
            Assert.Equal(Ids(sample, "ids_padded_77"), tokenizer.Encode(text));
            Assert.Equal(sample.GetProperty("decoded").GetString(), tokenizer.Decode(Ids(sample, "ids")));
        }
    }

    /// <summary>Every model of the folder that has prompts and their ids; sdxl-tiny, with two tokenizers, is too large to lie in tests/Fixtures.</summary>
    public static TheoryData<string> Models() =>
        [.. Directory.GetDirectories(Fixtures.Root, "*-tiny")
            .Where(folder => File.Exists(Path.Combine(folder, "tokenizer", "vocab.json")))
            .Select(folder => Path.GetFileName(folder)!)
            .Union(["sd15-tiny", "sd2-tiny"])
            .Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Models))]
    [Trait("Category", "Parity")]
    public void Encode_PromptsOfCase_EqualInputIds(string name)
    {
        using var scope = torch.NewDisposeScope();
        var description = Fixtures.Json(name, "case.json");
        var prompts = (description.TryGetProperty("text.prompts", out var texts) ? texts : description.GetProperty("prompts")).EnumerateArray()
            .Select(prompt => prompt.GetString()!).ToList();
        var inputs = Fixtures.Tensors(name, "inputs.safetensors");
        Check("tokenizer", "text.input_ids");
        if (Directory.Exists(Path.Combine(Fixtures.Case(name), "tokenizer_2")))
        {
            Check("tokenizer_2", "text.input_ids_2");
        }

        void Check(string folder, string ids)
        {
            var tokenizer = ClipTokenizer.FromFolder(Fixtures.Case(name, folder));
            Assert.Equal(inputs[ids].data<long>().ToArray(), prompts.SelectMany(tokenizer.Encode));
        }
    }

    [Fact]
    public void Encode_PlainStringPadToken_IsSplitOutOfTheText()
    {
        // Stable Diffusion 2 pads with "!", which upstream then treats as a special token wherever it stands.
        var tokenizer = ClipTokenizer.FromFolder(Fixtures.Case("sd2-tiny", "tokenizer"));
        Assert.Equal([tokenizer.BosTokenId, tokenizer.PadTokenId, tokenizer.PadTokenId, tokenizer.EosTokenId], tokenizer.EncodeUnpadded("!!"));
    }

    [Fact]
    public void Train_FrequentWords_BecomeOneTokenEach()
    {
        string[] corpus = ["portrait, long hair, blue shirt", "portrait, short hair, red shirt, round glasses"];
        var tokenizer = ClipTokenizer.Train(corpus, vocabularySize: 800, modelMaxLength: 32);
        foreach (var word in new[] { "portrait", "long", "hair", "shirt", "glasses", "," })
        {
            Assert.Equal(3, tokenizer.EncodeUnpadded(word).Length);
        }

        Assert.Equal(11, tokenizer.EncodeUnpadded("Portrait, LONG hair,  blue shirt, x").Length);
        Assert.Equal("portrait , long hair", tokenizer.Decode(tokenizer.Encode("portrait, long hair")));
    }

    [Fact]
    public void Train_UnseenText_StillSplitsIntoBytesThatDecode()
    {
        var tokenizer = ClipTokenizer.Train(["a cat"], vocabularySize: 600, modelMaxLength: 64);
        Assert.Equal("写真 naïve 😀", tokenizer.Decode(tokenizer.Encode("写真 NAÏVE 😀")));
        Assert.DoesNotContain(tokenizer.UnknownTokenId, tokenizer.EncodeUnpadded("写真 😀")[1..^1]);
    }

    [Fact]
    public void Train_Vocabulary_HasUpstreamsLayoutAndBound()
    {
        var tokenizer = ClipTokenizer.Train(["portrait of a woman with long hair"], vocabularySize: 520, modelMaxLength: 16);
        Assert.Equal(520, tokenizer.VocabularySize);
        Assert.Equal(
            ("!", "!</w>", ClipTokenizer.StartOfText, ClipTokenizer.EndOfText),
            (tokenizer.Token(0), tokenizer.Token(256), tokenizer.Token(518), tokenizer.Token(519)));
        Assert.Throws<ArgumentOutOfRangeException>(() => ClipTokenizer.Train(["a"], vocabularySize: 513, modelMaxLength: 16));
    }

    [Fact]
    public void Save_TrainedTokenizer_ReadsBackToTheSameIdsAndBytes()
    {
        var trained = ClipTokenizer.Train(["portrait, long hair", "写真, long \"hair\""], vocabularySize: 700, modelMaxLength: 24);
        trained.Save(_folder);
        var read = ClipTokenizer.FromFolder(_folder);
        const string Text = "Long hair 写真 \"xyz\"";
        Assert.Equal(trained.Encode(Text), read.Encode(Text));
        Assert.Equal(24, read.ModelMaxLength);
        var first = Directory.GetFiles(_folder).Order().Select(File.ReadAllText).ToList();
        read.Save(_folder);
        Assert.Equal(first, Directory.GetFiles(_folder).Order().Select(File.ReadAllText));
    }

    [Fact]
    public void Encode_LongText_EndsWithTheEndToken()
    {
        var tokenizer = ClipTokenizer.Train(["a b c"], vocabularySize: 514, modelMaxLength: 4);
        var ids = tokenizer.Encode("a b c d e f");
        Assert.Equal((4, tokenizer.BosTokenId, tokenizer.EosTokenId), (ids.Length, ids[0], ids[^1]));
    }

    [Fact]
    public void FromFolder_BadFiles_AreNamedInTheError()
    {
        Assert.Contains("vocab.json", Assert.Throws<FileNotFoundException>(() => ClipTokenizer.FromFolder(_folder)).Message);
        File.WriteAllText(Path.Combine(_folder, "merges.txt"), "#version: 0.2\na b\nabc\n");
        File.WriteAllText(Path.Combine(_folder, "vocab.json"), "{\"a\": 0}");
        Assert.Contains(ClipTokenizer.StartOfText, Assert.Throws<InvalidDataException>(() => ClipTokenizer.FromFolder(_folder)).Message);
        File.WriteAllText(Path.Combine(_folder, "vocab.json"), "{\"<|startoftext|>\": 0, \"<|endoftext|>\": 1}");
        Assert.Contains("line 3", Assert.Throws<InvalidDataException>(() => ClipTokenizer.FromFolder(_folder)).Message);
        File.WriteAllText(Path.Combine(_folder, "vocab.json"), "[1]");
        Assert.Contains("vocab.json", Assert.Throws<InvalidDataException>(() => ClipTokenizer.FromFolder(_folder)).Message);
    }

    [Theory]
    [InlineData("e\u0301", "\u00E9")] // a pair composes
    [InlineData("\u212B", "\u00E5")] // a singleton is replaced, then lower-cased
    [InlineData("\u1112\u1161\u11AB", "\uD55C")] // Hangul
    [InlineData("a\u0316\u0301", "\u00E1\u0316")] // a mark of another class does not block
    [InlineData("\u0958", "\u0915\u093C")] // excluded from composition
    [InlineData("q\u0307\u0323", "q\u0323\u0307")] // marks are ordered by class
    public void Normalize_CombiningMarks_GivesFormC(string text, string expected) => Assert.Equal(expected, ClipPreTokenizer.Normalize(text, lowerCase: true));

    private static long[] Ids(JsonElement sample, string name) => [.. sample.GetProperty(name).EnumerateArray().Select(id => id.GetInt64())];

    private static string Join(long[] ids) => string.Join(' ', ids);
}
