using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Vision;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training.Pretraining;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Pretraining;

/// <summary>The stages of the base's training on tiny networks: what they compute, from plain loops.</summary>
public sealed class BaseStagesTests : IDisposable
{
    private static readonly string[] Splits = ["train", "vae", "test"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void PortraitCorpus_SomeSplits_HoldsTheirPixelsAndTags()
    {
        Write(9, 6, 4);
        using var scope = NewDisposeScope();

        using var corpus = PortraitCorpus.Load(folder.Path, "vae", "test");

        // Of nine portraits every third is of the split train.
        Assert.Equal((6, 6L, 4L, 6L), (corpus.Count, corpus.Pixels.size(0), corpus.Pixels.size(2), corpus.Pixels.size(3)));
        Assert.Equal(["a1 style", "tag 1", "x"], corpus.Tags[0]);
        Assert.Equal(["a8 style", "tag 8", "x"], corpus.Tags[5]);
        var batch = corpus.Batch(tensor(new long[] { 5, 0 }));
        Assert.Equal([2, 3, 4, 6], batch.shape);
        foreach (var (row, portrait) in new[] { (0, 8), (1, 1) })
        {
            for (var k = 0; k < 3 * 24; k++)
            {
                var (channel, pixel) = (k / 24, k % 24);
                Assert.Equal(Byte(portrait, 3 * pixel + channel) / 127.5 - 1, batch[row].flatten()[k].item<float>(), 1e-6);
            }
        }

        Assert.Equal(
            $"{folder.Path} has no portraits of the splits character, other. Make the corpus anew (datasets/README.md).",
            Assert.Throws<InvalidDataException>(() => PortraitCorpus.Load(folder.Path, "character", "other")).Message);
    }

    [Fact]
    public void Encode_MorePortraitsThanABatch_IsThatOfEachAlone()
    {
        Write(210, 4, 4);
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(folder.Path, "train");
        using var vae = Vae();

        var latents = AutoencoderPretraining.Encode(vae, corpus);

        Assert.Equal((70, 70L), (corpus.Count, latents.size(0)));
        foreach (var i in new[] { 0, 1, 63, 64, 69 })
        {
            Close(Numbers(vae.Encode(corpus.Batch(tensor(new long[] { i }))).Mean), Numbers(latents[i]));
        }

        Close(Numbers(latents[..3]), Numbers(AutoencoderPretraining.Encode(vae, corpus, limit: 3)));
        Assert.Equal(65, AutoencoderPretraining.Encode(vae, corpus, limit: 65).size(0));
        Assert.False(latents.requires_grad);
    }

    [Fact]
    public void NormaliseLatents_AnAutoencoder_DrawsTheSameFromLatentsOfMeanZeroAndDeviationOne()
    {
        Write(12, 4, 4);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var corpus = PortraitCorpus.Load(folder.Path, "train");
        using var vae = Vae();
        var pixels = corpus.Batch(tensor(new long[] { 0, 1, 2, 3 }));
        var (mean, logVariance) = vae.Encode(pixels);
        var (before, decoded) = (Numbers(logVariance), Numbers(vae.Decode(mean)));
        var (m, size) = (Numbers(mean), mean.numel() / 4 / 3);

        AutoencoderPretraining.NormaliseLatents(vae, corpus);

        var (after, variance) = vae.Encode(pixels);
        Close(decoded, Numbers(vae.Decode(after)), 1e-4);
        var (z, v) = (Numbers(after), Numbers(variance));
        for (var channel = 0; channel < 3; channel++)
        {
            int[] places = [.. Enumerable.Range(0, m.Length).Where(k => k / (int)size % 3 == channel)];
            var average = places.Average(k => m[k]);
            var deviation = Math.Sqrt(places.Sum(k => (m[k] - average) * (m[k] - average)) / (places.Length - 1));
            Assert.All(places, k => Assert.Equal((m[k] - average) / deviation, z[k], 1e-4));
            Assert.All(places, k => Assert.Equal(before[k] - 2 * Math.Log(deviation), v[k], 1e-4));
        }
    }

    [Fact]
    public void Reconstruction_TwoPictures_IsTheSumOfItsFormula()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(2);
        var (decoded, pixels) = (randn([2, 3, 4, 5], generator: generator), randn([2, 3, 4, 5], generator: generator));

        Assert.Equal(Reconstruction(decoded, pixels), AutoencoderPretraining.Reconstruction(decoded, pixels).item<float>(), 1e-5);
    }

    [Fact]
    public void TrainBoth_FirstStep_IsOfReconstructionAndDivergence()
    {
        Write(9, 4, 4);
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(folder.Path, "train", "vae");
        using var vae = Vae();
        var config = Config() with { KlWeight = 0.3, AutoencoderLearningRate = 0.01 };
        using var generator = PortraitCorpus.StepGenerator(config.Seed, "autoencoder", 0);
        double expected;
        using (no_grad())
        {
            var pixels = Mirrored(corpus, 4, generator);
            var (mean, logVariance) = vae.Encode(pixels);
            var decoded = vae.Decode(mean + (logVariance * 0.5).exp() * randn(mean.shape, generator: generator));
            var (m, v) = (Numbers(mean), Numbers(logVariance));
            expected = Reconstruction(decoded, pixels) + 0.3 * m.Zip(v).Average(static pair => 0.5 * (pair.First * pair.First + Math.Exp(pair.Second) - 1 - pair.Second));
        }

        var before = Weights(vae);
        var reports = new List<PretrainingStep>();
        AutoencoderPretraining.TrainBoth(vae, corpus, config, new Immediate<PretrainingStep>(reports.Add), default);

        var report = reports.Single();
        Assert.Equal(("autoencoder", 1L, 1L, 0.01), (report.Stage, report.Step, report.Steps, report.LearningRate));
        Assert.Equal(expected, report.Loss, 1e-4);
        AssertAverage(before, vae, folder.In("state", "autoencoder.safetensors"));
        Assert.All(before, pair => Assert.NotEqual(pair.Value, Numbers(vae.get_parameter(pair.Key)!)));
    }

    [Fact]
    public void TrainDecoder_FirstStep_ChangesTheDecoderAloneAtHalfTheRate()
    {
        Write(9, 4, 4);
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(folder.Path, "train", "vae");
        using var vae = Vae();
        var config = Config() with { AutoencoderLearningRate = 0.01 };
        using var generator = PortraitCorpus.StepGenerator(config.Seed, "decoder", 0);
        double expected;
        using (no_grad())
        {
            var pixels = Mirrored(corpus, 4, generator);
            var mean = vae.Encode(pixels).Mean;
            var m = Numbers(mean);
            var deviation = Math.Sqrt(m.Sum(x => (x - m.Average()) * (x - m.Average())) / (m.Length - 1));
            expected = Reconstruction(vae.Decode(mean + 0.05 * deviation * randn(mean.shape, generator: generator)), pixels);
        }

        var before = Weights(vae);
        var reports = new List<PretrainingStep>();
        AutoencoderPretraining.TrainDecoder(vae, corpus, config, new Immediate<PretrainingStep>(reports.Add), default);

        var report = reports.Single();
        Assert.Equal(("decoder", 1L, 1L, 0.005), (report.Stage, report.Step, report.Steps, report.LearningRate));
        Assert.Equal(expected, report.Loss, 1e-4);
        Assert.All(before, pair => Assert.Equal(!pair.Key.StartsWith("decoder.", StringComparison.Ordinal), pair.Value.SequenceEqual(Numbers(vae.get_parameter(pair.Key)!))));
    }

    [Fact]
    public void DenoiserTrain_FirstStep_IsOfTheWeighedVelocity()
    {
        using var scope = NewDisposeScope();
        using var pipeline = TinyPipeline.Create();
        using var generator = new Generator(8);
        var latents = randn([5, 3, 8, 8], generator: generator);
        string[][] tags = [.. Enumerable.Range(0, 5).Select(static i => (string[])["portrait", "long hair", $"shirt {i}"])];
        var schedule = new NoiseSchedule(pipeline.Scheduler);

        // A seed whose first timestep is one of so little noise that its weight is bounded.
        var (seed, rows, e, t) = Enumerable.Range(1, 100).Select(Drawn).First(static drawn => drawn.Timesteps[0] < 60);
        var config = Config() with { Seed = seed, DenoiserBatch = 4, DenoiserLearningRate = 0.02 };
        var random = new Random(seed * 7919);
        string[] captions = [.. rows.Select(row => DenoiserPretraining.Caption(tags[row], random))];
        double[] x = [.. rows.SelectMany(row => Numbers(latents[row]))];
        double[] signal = [.. t.Select(step => (double)schedule.AlphasCumprod[(int)step])];
        double Signal(int k) => signal[k / 192];
        double[] noisy = [.. x.Select((value, k) => Math.Sqrt(Signal(k)) * value + Math.Sqrt(1 - Signal(k)) * e[k])];
        double[] output;
        using (no_grad())
        {
            output = Numbers(pipeline.UNet.call(
                tensor(noisy, [4, 3, 8, 8]).to(float32), tensor(t), pipeline.TextEncoder.call(stack(captions.Select(caption => tensor(pipeline.Tokenizer.Encode(caption)))))));
        }

        var expected = 0.0;
        for (var k = 0; k < x.Length; k++)
        {
            var snr = Signal(k) / (1 - Signal(k));
            var difference = output[k] - (Math.Sqrt(Signal(k)) * e[k] - Math.Sqrt(1 - Signal(k)) * x[k]);
            expected += (Math.Min(snr, 5) / (snr + 1) + 0.25) * difference * difference / x.Length;
        }

        var (unet, text) = (Weights(pipeline.UNet), Weights(pipeline.TextEncoder));
        var reports = new List<PretrainingStep>();
        DenoiserPretraining.Train(pipeline.UNet, pipeline.TextEncoder, pipeline.Tokenizer, schedule, latents, tags, config, new Immediate<PretrainingStep>(reports.Add), default);

        var report = reports.Single();
        Assert.Equal(("denoiser", 1L, 1L, 0.02), (report.Stage, report.Step, report.Steps, report.LearningRate));
        Assert.Equal(expected, report.Loss, 1e-4);
        Assert.Contains(unet, pair => !pair.Value.SequenceEqual(Numbers(pipeline.UNet.get_parameter(pair.Key)!)));
        Assert.Contains(text, pair => !pair.Value.SequenceEqual(Numbers(pipeline.TextEncoder.get_parameter(pair.Key)!)));

        static (int Seed, long[] Rows, double[] Noise, long[] Timesteps) Drawn(int seed)
        {
            using var generator = PortraitCorpus.StepGenerator(seed, "denoiser", 0);
            var rows = randint(0, 5, [4], int64, generator: generator).data<long>().ToArray();
            var noise = Numbers(randn([4, 3, 8, 8], generator: generator));
            return (seed, rows, noise, [.. Numbers(rand([4], generator: generator)).Select(static (part, i) => (long)((i + (float)part) * 250))]);
        }
    }

    /// <summary>The random numbers in the order in which they are asked for: the caption, each tag but the style, the style, the word.</summary>
    [Theory]
    [InlineData("", 0.09)]
    [InlineData("s, b, c", 0.1, 0.1, 0.1, 0.1, 0.15)]
    [InlineData("s, c", 0.5, 0.09, 0.5, 0.5, 0.5)]
    [InlineData("b", 0.5, 0.5, 0.0, 0.05, 0.5)]
    [InlineData("b, c", 0.5, 0.5, 0.5, 0.09, 0.5)]
    [InlineData("zzz style, s, b, c", 0.5, 0.5, 0.5, 0.5, 0.14)]
    [InlineData("zzz style", 0.5, 0.0, 0.0, 0.0, 0.0)]
    public void Caption_RandomNumbers_DecideWhatIsLeftOutAndPutIn(string expected, params double[] numbers)
    {
        var random = new Scripted(numbers);

        Assert.Equal(expected, DenoiserPretraining.Caption(["s", "b", "c"], random));
        Assert.Equal(0, random.Left);
    }

    [Fact]
    public void Caption_ManyDraws_KeepTheirShares()
    {
        var random = new Random(1);
        string[] tags = ["s style", "b", "c"];
        var captions = Enumerable.Range(0, 20_000).Select(_ => DenoiserPretraining.Caption(tags, random).Split(", ")).ToList();

        // Shares of 20,000 with a deviation of 0.004 at most.
        Assert.Equal(0.1 + 0.9 * 0.1 * 0.1 * 0.1 * 0.85, captions.Count(static caption => caption is [""]) / 20_000.0, 0.02);
        Assert.Equal(0.9 * 0.9, captions.Count(static caption => caption.Contains("b")) / 20_000.0, 0.02);
        Assert.Equal(0.9 * 0.9, captions.Count(static caption => caption.Contains("s style")) / 20_000.0, 0.02);
        var strange = captions.Where(caption => caption.Any(tag => tag.Length > 0 && !tags.Contains(tag))).ToList();
        Assert.Equal(0.9 * 0.15, strange.Count / 20_000.0, 0.02);
        string[] words = [.. strange.Select(caption => caption.First(tag => !tags.Contains(tag)))];
        Assert.All(words, static word => Assert.Matches("^[a-z]{3,6}( style)?$", word));
        Assert.Equal([3, 4, 5, 6], words.Select(static word => word.Split(' ')[0].Length).Distinct().Order());
        Assert.Equal(1 / 3.0, words.Count(static word => word.EndsWith(" style", StringComparison.Ordinal)) / (double)words.Length, 0.05);
        Assert.Contains(words, static word => word.Contains('z'));
        Assert.Contains(strange, caption => !tags.Contains(caption[0]) && caption.Length > 1);
        Assert.Contains(strange, caption => !tags.Contains(caption[^1]) && caption.Length > 1);
        Assert.Contains(captions, static caption => caption is ["s style", "c", "b"]);
    }

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
        foreach (var (picture, channel, row, column) in from n in new[] { 0, 1, 2 } from c in new[] { 0, 2 } from y in new[] { 0, 1, 31, 62, 63 } from x in new[] { 0, 2, 40, 61, 63 } select (n, c, y, x))
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
        Write(12, 16, 16, static i => $"{(i % 2 == 0 ? "adventurer" : "pixel")} style, {(i < 6 ? "black" : "red")} hair, {(i % 3 == 0 ? "long hair, " : "")}{(i % 4 == 1 ? "glasses, " : "")}{(i == 2 ? "green background, blue background" : "blue background")}");
        using var scope = NewDisposeScope();
        using var pipeline = TinyPipeline.Create();
        manual_seed(5);
        string[] known = ["adventurer style", "beard", "black hair", "blue background", "glasses", "green background", "long hair", "pixel style", "red hair", "short hair"];
        using var classifier = new TagClassifier(known);
        using (no_grad())
        {
            // A head that tells pictures apart.
            classifier.named_parameters().Last(static pair => pair.name.Contains("head.weight", StringComparison.Ordinal)).parameter.mul_(30);
        }

        var drawn = new List<(string Caption, RgbImage Picture)>();
        var scores = BaseEvaluation.Score(pipeline, classifier, folder.Path, captions: 3, guidance: 2, steps: 1, seed: 4, drawn: (caption, picture) => drawn.Add((caption, picture)));
        var all = BaseEvaluation.Score(pipeline, classifier, folder.Path, captions: 9, steps: 1);

        using var corpus = PortraitCorpus.Load(folder.Path, "test");
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
            ("style", ["adventurer style", "pixel style"]), ("hair colour", ["black hair", "red hair"]), ("hair shape", ["long hair", "short hair"]), ("skin", []),
            ("background", ["blue background", "green background"]), ("clothing colour", []), ("expression", []),
        ];
        Assert.Equal([.. choices.Select(static choice => choice.Name), "glasses", "beard"], scores.Select(static score => score.Attribute));
        foreach (var (name, values) in choices)
        {
            int[] rows = [.. Enumerable.Range(0, 3).Where(row => corpus.Tags[chosen[row]].Count(values.Contains) == 1)];
            int Hits(Tensor seen) => rows.Count(row => corpus.Tags[chosen[row]].Contains(values.MaxBy(value => seen[row, Array.IndexOf(known, value)].item<float>())!));
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

    /// <summary>Portraits of the splits train, vae and test by turns.</summary>
    private void Write(int count, int width, int height, Func<int, string>? caption = null) => File.WriteAllLines(folder.In("metadata.jsonl"), Enumerable.Range(0, count).Select(i =>
    {
        new RgbImage(width, height, [.. Enumerable.Range(0, width * height * 3).Select(k => Byte(i, k))]).SavePng(folder.In($"{i:D3}.png"));
        return $$"""{"file_name":"{{i:D3}}.png","text":"{{caption?.Invoke(i) ?? $"a{i} style, tag {i}, x"}}","split":"{{Splits[i % 3]}}"}""";
    }));

    private static byte Byte(int portrait, int place) => (byte)((place + 3) * (portrait + 2) * 7 >> 1);

    private static AutoencoderKL Vae() => new(TinyModels.Vae with { ScalingFactor = 1 }, new Generator(3));

    private PretrainingConfig Config() => new()
    {
        Corpus = folder.Path,
        Output = folder.In("out"),
        State = folder.In("state"),
        AutoencoderSteps = 1,
        AutoencoderBatch = 4,
        DecoderSteps = 1,
        DenoiserSteps = 1,
        BFloat16 = false,
    };

    private static Tensor Mirrored(PortraitCorpus corpus, int batch, Generator generator)
    {
        var pixels = corpus.Batch(randint(0, corpus.Count, [batch], int64, generator: generator));
        var numbers = Numbers(rand([batch, 1, 1, 1], generator: generator));
        return stack(Enumerable.Range(0, batch).Select(i => numbers[i] < 0.5 ? pixels[i].flip(2) : pixels[i]));
    }

    /// <summary>mean|d| + 2·mean d² + ½·(mean|d across| + mean|d down|).</summary>
    private static double Reconstruction(Tensor decoded, Tensor pixels)
    {
        var (height, width) = ((int)pixels.size(2), (int)pixels.size(3));
        double[] d = [.. Numbers(decoded).Zip(Numbers(pixels)).Select(static pair => pair.First - pair.Second)];
        var across = Enumerable.Range(0, d.Length).Where(k => k % width > 0).Average(k => Math.Abs(d[k] - d[k - 1]));
        var down = Enumerable.Range(0, d.Length).Where(k => k / width % height > 0).Average(k => Math.Abs(d[k] - d[k - width]));
        return d.Average(Math.Abs) + 2 * d.Average(static x => x * x) + 0.5 * (across + down);
    }

    /// <summary>After one step the average is that of what was before, 2 in 11, and after.</summary>
    private static void AssertAverage(Dictionary<string, double[]> before, nn.Module model, string state)
    {
        var master = RunFiles.Numbers(state, "master");
        double[] start = [.. before.Values.SelectMany(static numbers => numbers)];
        double[] now = [.. before.Keys.SelectMany(name => Numbers(model.get_parameter(name)!))];
        Close([.. start.Zip(master).Select(static pair => 2.0 / 11 * pair.First + 9.0 / 11 * pair.Second)], now);
    }

    private static Dictionary<string, double[]> Weights(nn.Module model) => model.named_parameters().ToDictionary(static pair => pair.name, static pair => Numbers(pair.parameter));

    private static double[] Numbers(Tensor tensor) => tensor.detach().to(float64).contiguous().data<double>().ToArray();

    private static void Close(double[] expected, double[] actual, double tolerance = 1e-5)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], actual[i], tolerance);
        }
    }

    /// <summary>Gives numbers in turn; whole numbers are the least that may be, letters the last.</summary>
    private sealed class Scripted(double[] numbers) : Random
    {
        public int Left { get; private set; } = numbers.Length;

        public override double NextDouble() => numbers[^Left--];

        public override int Next(int maxValue) => maxValue == 26 ? 25 : 0;

        public override int Next(int minValue, int maxValue) => minValue;
    }
}
