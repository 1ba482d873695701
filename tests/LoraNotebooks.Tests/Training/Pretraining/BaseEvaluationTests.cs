using LoraNotebooks.Data;
using LoraNotebooks.Models.Vision;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training.Pretraining;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Pretraining;

/// <summary>The judge of the base: what it learns from, and what it counts.</summary>
public sealed class BaseEvaluationTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    public void Disturb_Pictures_AreMirroredMovedBlurredAndNoisy(ulong seed)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(3);
        var pixels = randn([3, 3, 64, 64], generator: generator);

        var disturbed = Numbers(ClassifierPretraining.Disturb(pixels, new Generator(seed)));

        using var again = new Generator(seed);
        var mirrors = Numbers(rand([3, 1, 1, 1], generator: again));
        var moved = randint(-3, 4, [2], int64, generator: again).data<long>().ToArray();
        var amounts = Numbers(rand([3, 1, 1, 1], generator: again));
        var levels = Numbers(rand([3, 1, 1, 1], generator: again));
        var noise = Numbers(randn([3, 3, 64, 64], generator: again));
        var p = Numbers(pixels);
        foreach (var (picture, channel, row, column) in from n in new[] { 0, 1, 2 }
                                                        from c in new[] { 0, 2 }
                                                        from y in new[] { 0, 1, 31, 62,
            63 }
                                                        from x in new[] { 0, 2, 40, 61, 63 }
                                                        select (n, c, y, x))
        {
            double Source(int y, int x)
            {
                var (from, at) = (Math.Clamp(y + (int)moved[0], 0, 63), Math.Clamp(x + (int)moved[1], 0, 63));
                return p[((picture * 3 + channel) * 64 + from) * 64 + (mirrors[picture] < 0.5 ? 63 - at : at)];
            }

            var blurred = 0.0;
            for (var dy = -1; dy <= 1; dy++)
            {
                for (var dx = -1; dx <= 1; dx++)
                {
                    blurred += Source(Math.Clamp(row + dy, 0, 63), Math.Clamp(column + dx, 0, 63)) / 9;
                }
            }

            var k = ((picture * 3 + channel) * 64 + row) * 64 + column;
            var sharp = Source(row, column);
            Assert.Equal(sharp + amounts[picture] * (blurred - sharp) + 0.1 * levels[picture] * noise[k], disturbed[k], 1e-5);
        }
    }

    [Fact]
    public void Score_SomeCaptions_CountsWhatTheClassifierSees()
    {
        PortraitFiles.Write(_folder, 12, 16, 16, static i => string.Join(", ", (string[])
        [
            i % 2 == 0 ? "adventurer style" : "pixel style",
            i < 6 ? "black hair" : "red hair",
            .. i % 3 == 0 ? (string[])["long hair"] : [],
            .. i % 4 == 1 ? (string[])["glasses"] : [],
            .. i == 2 ? (string[])["green background"] : [],
            "blue background",
        ]));
        using var scope = NewDisposeScope();
        using var pipeline = TinyPipeline.Create();
        manual_seed(5);
        string[] known = ["adventurer style", "beard", "black hair", "blue background", "glasses", "green background", "long hair", "pixel style",
            "red hair", "short hair"];
        using var classifier = new TagClassifier(known);
        using (no_grad())
        {
            // A head that tells pictures apart.
            classifier.named_parameters().Last(static pair => pair.name.Contains("head.weight", StringComparison.Ordinal)).parameter.mul_(30);
        }

        var drawn = new List<(string Caption, RgbImage Picture)>();
        var scores = BaseEvaluation.Score(pipeline, classifier, _folder.Path, captions: 3, guidance: 2, steps: 1, seed: 4, drawn: (caption, picture) =>
            drawn.Add((caption, picture)));
        var all = BaseEvaluation.Score(pipeline, classifier, _folder.Path, captions: 9, steps: 1);

        using var corpus = PortraitCorpus.Load(_folder.Path, "test");
        var chosen = Enumerable.Range(0, 4).ToArray();
        new Random(4).Shuffle(chosen);
        Assert.Equal(chosen[..3].Select(i => string.Join(", ", corpus.Tags[i])), drawn.Select(static pair => pair.Caption));
        for (var i = 0; i < 3; i++)
        {
            var alone = pipeline.Generate(new() { Prompt = drawn[i].Caption, Guidance = 2, Steps = 1, Seed = 4 + chosen[i] })[0];
            StableDiffusionPipelineTests.AssertSame(alone.Pixels, drawn[i].Picture.Pixels);
        }

        var generated = classifier.Probabilities(RgbImage.ToTensor([.. drawn.Select(static pair => pair.Picture)]));
        var real = classifier.Probabilities(corpus.Batch(tensor(chosen[..3].Select(static i => (long)i).ToArray())));
        (string Name, string[] Values)[] choices =
        [
            ("style", ["adventurer style", "pixel style"]), ("hair colour", ["black hair", "red hair"]), ("hair shape", ["long hair", "short hair"]),
                ("skin", []),
            ("background", ["blue background", "green background"]), ("clothing colour", []), ("expression", []),
        ];
        Assert.Equal([.. choices.Select(static choice => choice.Name), "glasses", "beard"], scores.Select(static score => score.Attribute));
        foreach (var (name, values) in choices)
        {
            int[] rows = [.. Enumerable.Range(0, 3).Where(row => corpus.Tags[chosen[row]].Count(values.Contains) == 1)];
            int Hits(Tensor seen) =>
                rows.Count(row => corpus.Tags[chosen[row]].Contains(values.MaxBy(value => seen[row, Array.IndexOf(known, value)].item<float>())!));
            Assert.Equal(new AttributeScore(name, Hits(generated), Hits(real), rows.Length), scores.Single(score => score.Attribute == name));
        }

        foreach (var tag in (string[])["glasses", "beard"])
        {
            int[] rows = [.. Enumerable.Range(0, 3).Where(row => corpus.Tags[chosen[row]].Contains(tag))];
            int Hits(Tensor seen) => rows.Count(row => seen[row, Array.IndexOf(known, tag)].item<float>() > 0.5);
            Assert.Equal(new AttributeScore(tag, Hits(generated), Hits(real), rows.Length), scores.Single(score => score.Attribute == tag));
        }

        Assert.Equal([4, 3], all.Where(static score => score.Attribute is "style" or "background").Select(static score => score.Total));
    }

    private static double[] Numbers(Tensor tensor) => tensor.detach().to(float64).contiguous().data<double>().ToArray();
}
