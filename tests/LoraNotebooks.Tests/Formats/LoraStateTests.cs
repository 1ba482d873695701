using LoraNotebooks.Formats;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

/// <summary>What weights tell by themselves, and how what is strange is told.</summary>
public sealed class LoraStateTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();

    public void Dispose() => _scope.Dispose();

    [Theory]
    [InlineData("lora_A.weight", 3)]
    [InlineData("lora_embedding_A", 3)]
    [InlineData("hada_w1_b", 3)]
    [InlineData("lokr_w2_b", 3)]
    [InlineData("lokr_w1_b", 3)]
    [InlineData("lora_B.weight", null)]
    [InlineData("hada_w1_a", null)]
    [InlineData("lokr_w1", null)]
    [InlineData("lokr_w1_a", null)]
    public void Ranks_OfAPart_AreItsFirstSize(string part, int? expected) =>
        Assert.Equal(
            expected is { } rank ? [("a.b", rank)] : [],
            new LoraState(new Dictionary<string, Tensor> { [$"a.b.{part}"] = zeros(3, 5) }).Ranks.Select(static pair => (pair.Key, pair.Value)));

    /// <summary>Of two factors the inner one counts; where nothing has a rank, α is the one that was asked for.</summary>
    [Theory]
    [InlineData(null, 1)]
    [InlineData(4.0, 4)]
    [InlineData(4.6, 5)]
    [InlineData(0.2, 1)]
    public void Ranks_OfAWholeKroneckerProduct_AreItsAlpha(double? alpha, int expected)
    {
        var alphas = alpha is { } value ? new Dictionary<string, double> { ["a"] = value } : null;

        Assert.Equal(expected, new LoraState(new Dictionary<string, Tensor> { ["a.lokr_w1"] = zeros(2, 2), ["a.lokr_w2"] = zeros(2, 2) }, alphas).Ranks["a"]);
        Assert.Equal(2, new LoraState(new Dictionary<string, Tensor> { ["a.lokr_w1_b"] = zeros(2, 2), ["a.lokr_w2"] = zeros(7, 2) }, alphas).Ranks["a"]);
        Assert.Equal(6, new LoraState(new Dictionary<string, Tensor> { ["a.lokr_w1_b"] = zeros(2, 2), ["a.lokr_w2_b"] = zeros(6, 2) }, alphas).Ranks["a"]);
    }

    [Fact]
    public void Ranks_OfANumber_AreNone() => Assert.Empty(new LoraState(new Dictionary<string, Tensor> { ["a.lora_A.weight"] = tensor(1f) }).Ranks);

    [Fact]
    public void NotFinite_OfWeightsAndAlphas_AreTheirLayersOnceAndInOrder()
    {
        var state = new LoraState(
            new Dictionary<string, Tensor>
            {
                ["b.lora_A.weight"] = full(2, 2, float.NaN),
                ["b.lora_B.weight"] = full(2, 2, float.NaN),
                ["a.lora_A.weight"] = ones(2, 2),
                ["ab.bias"] = full(2, float.PositiveInfinity),
                ["c.lora_A.weight"] = ones(2, 2),
            },
            new Dictionary<string, double> { ["a"] = 1, ["c"] = double.NaN, ["elsewhere"] = double.NaN });

        Assert.Equal(["ab.bias", "b", "c", "elsewhere.alpha"], state.NotFinite());
    }

    [Fact]
    public void Dispose_OfAState_ReleasesItsWeights()
    {
        var weight = ones(2);

        new LoraState(new Dictionary<string, Tensor> { ["a"] = weight }).Dispose();

        Assert.True(weight.IsInvalid);
    }

    [Fact]
    public void Note_OfEachKind_IsOneLineOfTenNames()
    {
        string[] many = [.. Enumerable.Range(1, 12).Select(static i => $"n{i}")];
        var ten = $"{string.Join(", ", many.Take(10))}, and 2 more";

        Assert.Equal($"left out 12 tensors (why): {ten}", new LoraNote(LoraNoteKind.Unknown, "why", many).ToString());
        Assert.Equal("left out 1 tensor (why): n1", new LoraNote(LoraNoteKind.Unsupported, "why", ["n1"]).ToString());
        Assert.Equal($"why: {ten}", new LoraNote(LoraNoteKind.Assumed, "why", many).ToString());
        Assert.Equal($"12 layers with numbers that are not finite (why): {ten}", new LoraNote(LoraNoteKind.NotFinite, "why", many).ToString());
        Assert.Equal("damaged (why): n1", new LoraNote(LoraNoteKind.Damaged, "why", ["n1"]).ToString());
        Assert.Equal(
            "why: n1, n2, n3, n4, n5, and 7 more; left out 12 tensors (how): n1, n2, n3, n4, n5, and 7 more",
            LoraNote.Text([new(LoraNoteKind.Assumed, "why", many), new(LoraNoteKind.Unknown, "how", many)]));
        Assert.Equal(12, LoraNote.Text([.. many.Select(name => new LoraNote(LoraNoteKind.Assumed, "why", [name, "other"]))]).Split("and 1 more").Length - 1);
    }

    /// <summary>What is told stands in the order of its kinds, what is refused the other way: what is damaged first.</summary>
    [Fact]
    public void Reading_ThatFoundSomething_TellsItInOneLine()
    {
        var reading = new LoraReading("the file");
        reading.Add(LoraNoteKind.Assumed, "taken", "c");
        reading.Add(LoraNoteKind.Unknown, "strange", "a");
        reading.Add(LoraNoteKind.Unknown, "strange", "b");
        reading.Add(LoraNoteKind.Unknown, "stranger", "d");
        reading.RequireFinite(
            "unet",
            new LoraState(new Dictionary<string, Tensor> { ["x.lora_A.weight"] = full(1, 1, float.NaN), ["y.lora_A.weight"] = ones(1, 1) }));

        IReadOnlyList<LoraNote> notes = [];
        var told = Heard.During(() => notes = reading.Finish());

        Assert.Equal(3, reading.Strangers);
        Assert.Equal("the file", reading.Path);
        Assert.Equal(
            [
                (LoraNoteKind.Unknown, "strange", 2),
                (LoraNoteKind.Unknown, "stranger", 1),
                (LoraNoteKind.Assumed, "taken", 1),
                (LoraNoteKind.NotFinite, NotFinite, 1)
            ],
            notes.Select(static note => (note.Kind, note.Reason, note.Names.Count)));
        Assert.Equal(
            "'the file': left out 2 tensors (strange): a, b; left out 1 tensor (stranger): d; taken: c; "
                + $"1 layer with numbers that are not finite ({NotFinite}): unet: x. To refuse such files, read them strictly.{Environment.NewLine}",
            told);
    }

    [Fact]
    public void Reading_ThatFoundNothing_TellsNothing() =>
        Assert.Equal("", Heard.During(static () => Assert.Empty(new LoraReading("x", isStrict: true).Finish())));

    [Fact]
    public void Reading_Strictly_RefusesEachThingByItsKind()
    {
        var reading = new LoraReading("the file", isStrict: true);
        reading.Add(LoraNoteKind.NotFinite, "not finite", "e");
        reading.Add(LoraNoteKind.Assumed, "taken", "c");
        reading.Add(LoraNoteKind.Unknown, "strange", "a");
        reading.Add(LoraNoteKind.Unsupported, "left", "b");

        Assert.Equal(
            "'the file' was not read, because strict reading refuses what it would leave out (4 faults); "
            + "expected a LoRA of known tensors only, or read it without strict:\n"
            + "- unexpected: a (strange)\n- unsupported: b (left)\n- assumed: c (taken)\n- not finite: e (not finite)",
            Assert.Throws<InvalidDataException>(() => reading.Finish()).Message);

        reading.Add(LoraNoteKind.Damaged, "broken", "f");
        reading.IsMissing("g");

        Assert.StartsWith(
            "'the file' is damaged (6 faults), expected a whole and sound LoRA; download or save it again:\n- damaged: f (broken)\n- missing: g\n"
                + "- unexpected: a (strange)\n",
            Assert.Throws<InvalidDataException>(() => reading.Finish()).Message);
    }

    [Fact]
    public void Reading_OfWhatIsDamaged_RefusesOnlyThatAndTellsNothing()
    {
        var reading = new LoraReading("the file");
        reading.Add(LoraNoteKind.Unknown, "strange", "a");
        foreach (var i in Enumerable.Range(1, 12))
        {
            reading.IsMissing($"m{i}");
        }

        var message = "";
        var told = Heard.During(() => message = Assert.Throws<InvalidDataException>(() => reading.Finish()).Message);

        Assert.Equal(
            "'the file' is damaged (12 faults), expected a whole and sound LoRA; download or save it again:\n"
                + $"{string.Join('\n', Enumerable.Range(1, 10).Select(static i => $"- missing: m{i}"))}\n- and 2 more",
            message);
        Assert.Equal("", told);
    }

    private const string NotFinite = "the training diverged, or a conversion overflowed: pictures will fail; take an earlier checkpoint";
}
