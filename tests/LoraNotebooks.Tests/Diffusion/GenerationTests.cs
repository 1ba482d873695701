using System.Reflection;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>What a generation is made of: every option, picture by picture, and what the UNet is told at each step.</summary>
public sealed class GenerationTests : IDisposable
{
    private static readonly GenerationOptions Basis = new() { Prompt = "portrait, long hair", Steps = 3, Guidance = 3, Seed = 7, Width = 24, Height = 20, Sampler = SamplerKind.EulerAncestral };

    /// <summary>For each option a run that takes it, and whether it makes other pictures than <see cref="Basis"/>.</summary>
    private static readonly Dictionary<string, GenerationOptions[]> Changes = new()
    {
        [nameof(GenerationOptions.Prompt)] = [Basis with { Prompt = "blue shirt" }, Basis with { Prompt = "" }],
        [nameof(GenerationOptions.NegativePrompt)] = [Basis with { NegativePrompt = "blue shirt" }],
        [nameof(GenerationOptions.Width)] = [Basis with { Width = 32 }, Basis with { Width = null }],
        [nameof(GenerationOptions.Height)] = [Basis with { Height = 32 }, Basis with { Height = null }],
        [nameof(GenerationOptions.Steps)] = [Basis with { Steps = 1 }, Basis with { Steps = 4 }],
        [nameof(GenerationOptions.Guidance)] = [Basis with { Guidance = 1 }, Basis with { Guidance = 0 }, Basis with { Guidance = -2.5 }],
        [nameof(GenerationOptions.Seed)] = [Basis with { Seed = 8 }, Basis with { Seed = -1 }],
        [nameof(GenerationOptions.Count)] = [Basis with { Count = 5, BatchSize = 2 }, Basis with { Count = 4, BatchSize = 1 }],
        [nameof(GenerationOptions.BatchSize)] = [Basis with { Count = 3, BatchSize = 3 }],
        [nameof(GenerationOptions.Sampler)] = [Basis with { Sampler = null }, Basis with { Sampler = SamplerKind.DpmPlusPlusSde }],
        [nameof(GenerationOptions.Spacing)] = [Basis with { Spacing = SigmaSpacing.Karras }],
        [nameof(GenerationOptions.Eta)] = [Basis with { Sampler = SamplerKind.Ddim, Eta = 0.5 }],
        [nameof(GenerationOptions.ClipSkip)] = [Basis with { ClipSkip = 2 }],
        [nameof(GenerationOptions.Reading)] = [Basis with { Prompt = "(long:1.9) hair, blue", Reading = new() { Weighting = PromptWeighting.Scale, MaxTokenLength = 30 } }],
    };

    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        _pipeline.Dispose();
        _scope.Dispose();
    }

    public static TheoryData<string> Properties => [.. typeof(GenerationOptions).GetProperties(BindingFlags.Public | BindingFlags.Instance).Select(static property => property.Name)];

    /// <summary>Each picture alone, from its own seed's numbers: the first for its noise, the next for what the sampler adds.</summary>
    [Theory]
    [MemberData(nameof(Properties))]
    public void Generate_EveryOption_IsThePictureOfItsParts(string property)
    {
        Assert.True(Changes.ContainsKey(property), $"{property} is an option of a generation; say here with what values it is tried");
        var basis = _pipeline.Generate(Basis)[0];
        foreach (var options in Changes[property])
        {
            var pictures = _pipeline.Generate(options);
            Assert.Equal(options.Count, pictures.Count);
            foreach (var (i, picture) in pictures.Index())
            {
                Assert.Equal((options.Width ?? 16, options.Height ?? 16), (picture.Width, picture.Height));
                var expected = Alone(options, unchecked((ulong)(options.Seed + i)));
                StableDiffusionPipelineTests.AssertSame(expected.Pixels, picture.Pixels);
            }

            var isTheSame = property is nameof(GenerationOptions.Count) or nameof(GenerationOptions.BatchSize);
            Assert.Equal(isTheSame, basis.Pixels.Length == pictures[0].Pixels.Length && Difference(basis, pictures[0]) <= 1);
            Assert.Equal(pictures.Count, pictures.Select(static picture => Convert.ToHexString(picture.Pixels)).Distinct().Count());
        }
    }

    /// <summary>At each step: both halves of guidance, the scaled sample, the step's own timestep.</summary>
    [Fact]
    public void Generate_EveryStepOfEveryBatch_AsksTheUNetAtItsTimestepAboutItsSeeds()
    {
        var heard = Listen(_pipeline);
        _pipeline.Generate(Basis with { Sampler = SamplerKind.Euler, Count = 3, BatchSize = 2 });

        using var sampler = Sampler.Create(_pipeline.Scheduler, 3, SamplerKind.Euler);
        Assert.Equal(sampler.Timesteps.Concat(sampler.Timesteps).Select(static t => (float)t), heard.Select(static call => call.Timesteps[0]));
        Assert.All(heard, static call => Assert.Single(call.Timesteps.Distinct()));
        Assert.All(heard, static call => Assert.Equal(call.Sample.size(0), call.Timesteps.Length));
        Assert.Equal([4L, 4, 4, 2, 2, 2], heard.Select(static call => call.Sample.size(0)));
        foreach (var (call, place, seed) in new[] { (0, 0, 7UL), (0, 1, 8UL), (0, 2, 7UL), (0, 3, 8UL), (3, 0, 9UL), (3, 1, 9UL) })
        {
            using var generator = new Generator(seed);
            var sigma = sampler.Sigmas[0];
            var expected = randn([3, 10, 12], generator: generator) * (sampler.InitialNoiseSigma / Math.Sqrt(sigma * sigma + 1));
            Assert.InRange(Fixtures.MaxDifference(expected, heard[call].Sample[place]), 0, 1e-5);
        }
    }

    [Theory]
    [InlineData(24, 20, 20f, 24f)]
    [InlineData(null, 20, 20f, 16f)]
    [InlineData(24, null, 16f, 24f)]
    public void Generate_SdxlOfAnySize_TellsHeightBeforeWidthToBothHalves(int? width, int? height, float tall, float wide)
    {
        using var xl = TinyPipeline.CreateXL();
        var heard = Listen(xl);
        xl.Generate(Basis with { Width = width, Height = height, Steps = 1, Count = 2, NegativePrompt = "blue" });

        float[] whole = [tall, wide, 0, 0, tall, wide];
        var context = Assert.Single(heard).Context;
        Assert.Equal([.. whole, .. whole, .. whole, .. whole], context.TimeIds!.data<float>().ToArray());
        var (positive, negative) = (xl.EncodePrompts([Basis.Prompt]), xl.EncodePrompts(["blue"]));
        foreach (var (i, half) in new[] { negative, negative, positive, positive }.Index())
        {
            Assert.InRange(Fixtures.MaxDifference(half.HiddenStates[0], context.HiddenStates[i]), 0, 1e-5);
            Assert.InRange(Fixtures.MaxDifference(half.TextEmbeds![0], context.TextEmbeds![i]), 0, 1e-5);
        }
    }

    [Theory]
    [InlineData(true, "", true)]
    [InlineData(true, "blue", false)]
    [InlineData(false, "", false)]
    public void Generate_SdxlsEmptyNegativePrompt_IsZerosWhereTheModelSaysSo(bool forces, string negative, bool isZeros)
    {
        using var made = TinyPipeline.CreateXL();
        var text = new TextEncoders(made.Text.Tokenizers[0], made.Text.Encoders[0], made.Text.Tokenizers[1], made.Text.Encoders[1]) { ForceZerosForEmptyPrompt = forces };
        var heard = Listen(made);
        new StableDiffusionPipeline(text, made.UNet, made.Vae, made.Scheduler).Generate(Basis with { Steps = 1, NegativePrompt = negative });

        var context = Assert.Single(heard).Context;
        Assert.Equal(isZeros, context.HiddenStates[0].abs().max().item<float>() == 0);
        Assert.Equal(isZeros, context.TextEmbeds![0].abs().max().item<float>() == 0);
        Assert.True(context.HiddenStates[1].abs().max().item<float>() > 0.01);
        Assert.Equal([20f, 24, 0, 0, 20, 24], context.TimeIds![0].data<float>().ToArray());
    }

    [Fact]
    public void Generate_GuidanceOfExactlyOne_NeverReadsTheNegativePrompt()
    {
        var heard = Listen(_pipeline);
        var with = _pipeline.Generate(Basis with { Guidance = 1, NegativePrompt = "blue shirt" })[0];
        var without = _pipeline.Generate(Basis with { Guidance = 1 })[0];
        _pipeline.Generate(Basis with { Guidance = 1.0001, NegativePrompt = "blue shirt" });

        Assert.True(with.Pixels.SequenceEqual(without.Pixels));
        Assert.Equal([1L, 1, 1, 1, 1, 1, 2, 2, 2], heard.Select(static call => call.Sample.size(0)));
        Assert.InRange(Fixtures.MaxDifference(_pipeline.EncodePrompts([Basis.Prompt]).HiddenStates, heard[0].Context.HiddenStates), 0, 1e-6);
    }

    [Fact]
    public void Generate_CancelledBefore_AsksNothing()
    {
        var heard = Listen(_pipeline);
        Assert.Throws<OperationCanceledException>(() => _pipeline.Generate(Basis, new CancellationToken(canceled: true)));
        Assert.Empty(heard);
    }

    [Theory]
    [InlineData(1, 20, "1 × 20 pixels; expected multiples of 2, by which the autoencoder shrinks images. The nearest are 2 × 20.")]
    [InlineData(20, 23, "20 × 23 pixels; expected multiples of 2, by which the autoencoder shrinks images. The nearest are 20 × 24.")]
    public void Generate_OneSideThatDoesNotDivide_NamesTheNearest(int width, int height, string expected) =>
        Assert.Contains(expected, Assert.Throws<ArgumentException>(() => _pipeline.Generate(Basis with { Width = width, Height = height })).Message);

    private static int Difference(RgbImage first, RgbImage second) => first.Pixels.ToArray().Zip(second.Pixels.ToArray(), static (a, b) => Math.Abs(a - b)).Max();

    /// <summary>One picture by the pipeline's parts, without batches.</summary>
    private RgbImage Alone(GenerationOptions options, ulong seed)
    {
        using var generator = new Generator(seed);
        using var noGradient = no_grad();
        int width = options.Width ?? 16, height = options.Height ?? 16;
        using var sampler = Sampler.Create(_pipeline.Scheduler.With(options.Spacing), options.Steps, options.Sampler, options.Eta);
        var negative = options.Guidance == 1 ? null : _pipeline.EncodePrompts([options.NegativePrompt], options.ClipSkip, null, options.Reading);
        var latents = _pipeline.Denoise(Draw(), _pipeline.EncodePrompts([options.Prompt], options.ClipSkip, null, options.Reading), negative, sampler, options.Guidance, Draw);
        return RgbImage.FromTensor(_pipeline.Decode(latents)[0]);

        Tensor Draw() => randn([3, height / 2, width / 2], generator: generator).unsqueeze(0);
    }

    private List<(Tensor Sample, float[] Timesteps, Conditioning Context)> Listen(StableDiffusionPipeline model)
    {
        var heard = new List<(Tensor, float[], Conditioning)>();
        model.UNet.register_forward_hook((_, sample, timesteps, context, output) =>
        {
            heard.Add((Kept(sample), timesteps.data<float>().ToArray(), new(Kept(context.HiddenStates), context.TextEmbeds is { } text ? Kept(text) : null, context.TimeIds is { } ids ? Kept(ids) : null)));
            return output;
        });
        return heard;

        Tensor Kept(Tensor tensor) => tensor.detach().clone().MoveToOtherDisposeScope(_scope);
    }
}
