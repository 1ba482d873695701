using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>What the images of a batch are, and what stands beside them, from plain loops.</summary>
public sealed class TrainingSetTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = Shifted();

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Draw_Latents_AreEachImagesOwnOnTheModelsScale(bool samples)
    {
        using var set = Set(Config() with { SampleLatents = samples }, TinyRun.Dataset);

        var batch = set.Draw([4, 1, 4], 2);

        int[] images = [4, 1, 4];
        Assert.Equal([3, 3, 8, 8], batch.Latents.shape);
        for (var i = 0; i < images.Length; i++)
        {
            var (mean, logVariance) = _pipeline.Vae.Encode(TinyRun.Dataset.Pixels([images[i]]));
            using var generator = new Generator((ulong)new TrainingSeeds(3).Derive(RandomUse.Latents, images[i]));
            var (m, v, e) = (Numbers(mean), Numbers(logVariance), Numbers(randn(mean.shape, generator: generator)));
            var latents = Numbers(batch.Latents[i]);
            for (var k = 0; k < latents.Length; k++)
            {
                var drawn = samples ? m[k] + Math.Exp(0.5 * v[k]) * e[k] : m[k];
                Assert.Equal((drawn - 0.25) * 0.18215, latents[k], 1e-6);
            }
        }
    }

    [Theory]
    [InlineData(null, false, 0, 0)] // encoded once
    [InlineData(null, false, 0, 0.5)] // encoded once, with the empty text
    [InlineData(null, true, 0, 0)]
    [InlineData(null, false, 0.5, 0)]
    [InlineData(1e-3, true, 0.4, 0.4)]
    public void Draw_Captions_AreThoseOfTheBatchsNumberInItsOrder(double? textRate, bool shuffles, double tagDropout, double captionDropout)
    {
        var data = new PreparedDataset(TinyRun.Dataset.Images.Select(static (image, i) => image with { Caption = $"portrait, long hair, blue shirt, {i}" }));
        var options = new CaptionOptions { Shuffle = shuffles, TagDropout = tagDropout, CaptionDropout = captionDropout, KeepTokens = 1 };
        var reading = new PromptReading { MaxTokenLength = 20 };
        var config = Config() with { TextEncoderLearningRate = textRate, Captions = options, Reading = reading, ClipSkip = 2 };
        using var set = Set(config, data);
        int[] indices = [3, 0, 3, 1, 2];
        var all = new HashSet<string>();

        foreach (var number in new long[] { 0, 1, 12 })
        {
            using var scope = NewDisposeScope();
            var text = set.Draw(indices, number).Text;

            using var generator = new Generator((ulong)new TrainingSeeds(3).Derive(RandomUse.Captions, number));
            var drawn = indices.Select(i => options.Draw(data.Images[i].Caption, generator)).ToList();
            all.UnionWith(drawn);
            Assert.Equal(textRate is not null, text.HiddenStates.requires_grad);
            Assert.Equal(5, text.HiddenStates.size(0));
            for (var i = 0; i < indices.Length; i++)
            {
                Close(_pipeline.Text.Encode([drawn[i]], 2, reading).HiddenStates[0], text.HiddenStates[i]);
            }
        }

        Assert.True(options.ChangeNothing ? all.Count == 4 : all.Count > 4);
    }

    [Theory]
    [InlineData(1, 1, null)]
    [InlineData(1, 0.25, new[] { 1, 1, 1, 0.25, 0.25 })]
    [InlineData(2, 1, new[] { 1, 2, 1, 1, 1.0 })]
    [InlineData(2, 0.25, new[] { 1, 2, 1, 0.25, 0.25 })]
    public void Draw_Weights_AreTheImagesTimesThePriors(double image, double prior, double[]? expected)
    {
        var plain = Repeated();
        var data = new PreparedDataset(plain.Images.Select((shown, i) => i == 1 ? shown with { LossWeight = image } : shown));
        using var set = Set(Config() with { PriorLossWeight = prior }, data);
        int[] indices = [4, 1, 0, 1];

        var weights = set.Draw(indices, 0).Weights;

        Assert.Equal(expected is null ? null : indices.Select(i => (float)expected[i]), weights?.data<float>().ToArray());
    }

    [Fact]
    public void Draw_Noise_IsThatOfTheBatchsNumber()
    {
        using var set = Set(Config() with { IpNoiseGamma = 0.1 }, TinyRun.Dataset);

        var batch = set.Draw([0, 1], 6);

        var source = new TrainingNoiseSource(Config() with { IpNoiseGamma = 0.1 }, new NoiseSchedule(_pipeline.Scheduler), new TrainingSeeds(3));
        var (noise, input, timesteps) = source.Draw(batch.Latents, 6);
        Assert.Equal(Numbers(noise), Numbers(batch.Noise));
        Assert.Equal(Numbers(input!), Numbers(batch.InputNoise!));
        Assert.Equal(timesteps.data<long>().ToArray(), batch.Timesteps.data<long>().ToArray());
        Assert.False(batch.Latents.requires_grad);
    }

    [Fact]
    public void TrainingSet_BatchesAndSet_LeaveNoTensorBehind()
    {
        var before = TorchSharp.DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using (NewDisposeScope())
        using (var set = Set(Config() with { PriorLossWeight = 0.5 }, Repeated()))
        {
            using var scope = NewDisposeScope();
            set.Draw([0, 3], 0);
        }

        Assert.Equal(before, TorchSharp.DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Theory]
    [InlineData(15, 16, false)]
    [InlineData(16, 15, false)]
    [InlineData(14, 16, true)]
    public void TrainingSet_WidthOrHeightOffTheFactor_IsRefused(int width, int height, bool fits)
    {
        var data = new PreparedDataset([new PreparedImage("a", new RgbImage(width, height, new byte[width * height * 3]), "", "a.png")]);

        var fault = Record.Exception(() => Set(Config(), data).Dispose());

        var expected = $"Got images of {width} × {height} pixels, expected multiples of 2, by which the autoencoder shrinks them. "
            + "Prepare the dataset with another resolution. (Parameter 'dataset')";
        Assert.Equal(fits ? null : expected, fault?.Message);
    }

    [Fact]
    public void TrainingSet_LatentsThatAreNotFinite_NamesTheImage()
    {
        using (no_grad())
        {
            _pipeline.Vae.get_parameter("quant_conv.bias")!.fill_(float.PositiveInfinity);
        }

        var error = Assert.Throws<ArgumentException>(() => Set(Config(), TinyRun.Dataset));

        Assert.Equal("image0: got latents that are not finite from the autoencoder. Load the pipeline in float32, or remove the image.", error.Message);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(5)] // before the captions
    public void TrainingSet_CancelledWhileEncoding_Stops(int images)
    {
        using var source = new CancellationTokenSource();
        var encoded = 0;
        if (images == 0)
        {
            source.Cancel();
        }

        var encoder = (nn.Module<Tensor, Tensor>)_pipeline.Vae.named_children().First(static pair => pair.name == "encoder").module;
        encoder.register_forward_hook((_, _, y) =>
        {
            if (++encoded == images)
            {
                source.Cancel();
            }

            return y;
        });

        Assert.Throws<OperationCanceledException>(() =>
            new TrainingSet(_pipeline, Config(), TinyRun.Dataset, new NoiseSchedule(_pipeline.Scheduler), source.Token));
        Assert.Equal(images, encoded);
    }

    /// <summary>A pipeline whose latents have a shift and a scale.</summary>
    private static StableDiffusionPipeline Shifted()
    {
        var plain = TinyPipeline.Create();
        return new StableDiffusionPipeline(plain.Tokenizer, plain.TextEncoder, plain.UNet,
            new AutoencoderKL(TinyModels.Vae with { ShiftFactor = 0.25 }, new Generator(9)), plain.Scheduler);
    }

    /// <summary>Three images, the second three times, and two of the class.</summary>
    private static PreparedDataset Repeated()
    {
        var images = TinyRun.Dataset.Images;
        return new PreparedDataset([images[0], images[1] with { Repeats = 3 }, images[2]]).WithRegularization(new PreparedDataset(images.Skip(3)));
    }

    private DiffusionTrainingConfig Config() => TinyRun.Config(_folder.Path);

    private TrainingSet Set(DiffusionTrainingConfig config, PreparedDataset data) =>
        new(_pipeline, config, data, new NoiseSchedule(_pipeline.Scheduler), default);

    private static double[] Numbers(Tensor tensor) => tensor.detach().to(float64).contiguous().data<double>().ToArray();

    private static void Close(Tensor expected, Tensor actual)
    {
        foreach (var (a, b) in Numbers(expected).Zip(Numbers(actual)))
        {
            Assert.Equal(a, b, 1e-5);
        }
    }
}
