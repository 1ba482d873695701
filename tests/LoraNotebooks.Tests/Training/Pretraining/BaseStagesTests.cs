using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training.Pretraining;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Pretraining;

/// <summary>The stages of the base's training on tiny networks: what they compute, from plain loops.</summary>
public sealed class BaseStagesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void PortraitCorpus_SomeSplits_HoldsTheirPixelsAndTags()
    {
        PortraitFiles.Write(_folder, 9, 6, 4);
        using var scope = NewDisposeScope();

        using var corpus = PortraitCorpus.Load(_folder.Path, "vae", "test");

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
                Assert.Equal(PortraitFiles.Byte(portrait, 3 * pixel + channel) / 127.5 - 1, batch[row].flatten()[k].item<float>(), 1e-6);
            }
        }

        Assert.Equal(
            $"{_folder.Path} has no portraits of the splits character, other. Make the corpus anew (datasets/README.md).",
            Assert.Throws<InvalidDataException>(() => PortraitCorpus.Load(_folder.Path, "character", "other")).Message);
    }

    [Fact]
    public void Encode_MorePortraitsThanABatch_IsThatOfEachAlone()
    {
        PortraitFiles.Write(_folder, 210, 4, 4);
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(_folder.Path, "train");
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
        PortraitFiles.Write(_folder, 12, 4, 4);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var corpus = PortraitCorpus.Load(_folder.Path, "train");
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
        PortraitFiles.Write(_folder, 9, 4, 4);
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(_folder.Path, "train", "vae");
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
            expected = Reconstruction(decoded, pixels) + 0.3 * m
                .Zip(v).Average(static pair => 0.5 * (pair.First * pair.First + Math.Exp(pair.Second) - 1 - pair.Second));
        }

        var before = Weights(vae);
        var reports = new List<PretrainingStep>();
        AutoencoderPretraining.TrainBoth(vae, corpus, config, new Immediate<PretrainingStep>(reports.Add), default);

        var report = reports.Single();
        Assert.Equal(("autoencoder", 1L, 1L, 0.01), (report.Stage, report.Step, report.Steps, report.LearningRate));
        Assert.Equal(expected, report.Loss, 1e-4);
        AssertAverage(before, vae, _folder.In("state", "autoencoder.safetensors"));
        Assert.All(before, pair => Assert.NotEqual(pair.Value, Numbers(vae.get_parameter(pair.Key)!)));
    }

    [Fact]
    public void TrainDecoder_FirstStep_ChangesTheDecoderAloneAtHalfTheRate()
    {
        PortraitFiles.Write(_folder, 9, 4, 4);
        using var scope = NewDisposeScope();
        using var corpus = PortraitCorpus.Load(_folder.Path, "train", "vae");
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
        AssertAverage(before.Where(static pair => pair.Key.StartsWith("decoder.", StringComparison.Ordinal)).ToDictionary(), vae,
            _folder.In("state", "decoder.safetensors"));
        Assert.All(before, pair =>
            Assert.Equal(!pair.Key.StartsWith("decoder.", StringComparison.Ordinal), pair.Value.SequenceEqual(Numbers(vae.get_parameter(pair.Key)!))));
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
                tensor(noisy, [4, 3, 8, 8]).to(float32), tensor(t),
                    pipeline.TextEncoder.call(stack(captions.Select(caption => tensor(pipeline.Tokenizer.Encode(caption)))))));
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
        DenoiserPretraining.Train(pipeline.UNet, pipeline.TextEncoder, pipeline.Tokenizer, schedule, latents, tags, config,
            new Immediate<PretrainingStep>(reports.Add), default);

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

    private static AutoencoderKL Vae() => new(TinyModels.Vae with { ScalingFactor = 1 }, new Generator(3));

    private PretrainingConfig Config() => new()
    {
        Corpus = _folder.Path,
        Output = _folder.In("out"),
        State = _folder.In("state"),
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
        var master = RunFiles.Numbers(state, "weights");
        double[] start = [.. before.Values.SelectMany(static numbers => numbers)];
        double[] now = [.. before.Keys.SelectMany(name => Numbers(model.get_parameter(name)!))];
        Close([.. start.Zip(master).Select(static pair => 2.0 / 11 * pair.First + 9.0 / 11 * pair.Second)], now);
    }

    private static Dictionary<string, double[]> Weights(nn.Module model) => model.named_parameters()
        .ToDictionary(static pair => pair.name, static pair => Numbers(pair.parameter));

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
