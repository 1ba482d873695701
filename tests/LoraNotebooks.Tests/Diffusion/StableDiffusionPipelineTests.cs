using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class StableDiffusionPipelineTests
{
    private static readonly GenerationOptions Options = new() { Prompt = "portrait, long hair", Steps = 4, Guidance = 3, Seed = 7 };

    public static TheoryData<string?> Samplers => [null, .. SamplerKind.All.Select(static kind => kind.Name)];

    [Theory]
    [MemberData(nameof(Samplers))]
    public void Generate_OneSeed_IsTheSameImageInAnyBatch(string? sampler)
    {
        using var pipeline = TinyPipeline.Create();
        var options = Options with { Sampler = sampler is null ? null : SamplerKind.Named(sampler) };
        var alone = pipeline.Generate(options)[0];
        var together = pipeline.Generate(options with { Seed = 5, Count = 4, BatchSize = 3 });
        Assert.Equal((16, 16, 4), (alone.Width, alone.Height, together.Count));
        AssertSame(alone.Pixels, together[2].Pixels);
        Assert.False(alone.Pixels.SequenceEqual(together[1].Pixels));
    }

    [Fact]
    public void Generate_LongOrWeightedPrompt_ReachesTheUNet()
    {
        using var pipeline = TinyPipeline.Create();
        using var scope = NewDisposeScope();
        var prompt = string.Join(", ", Enumerable.Repeat("long hair", 6)) + ", blue shirt";
        var cut = pipeline.EncodePrompts([prompt]);
        var whole = pipeline.EncodePrompts([prompt], reading: new() { MaxTokenLength = 30 });
        Assert.Equal([1, 32, 6], whole.HiddenStates.shape);
        Assert.InRange(Fixtures.MaxDifference(cut.HiddenStates.narrow(1, 0, 11), whole.HiddenStates.narrow(1, 0, 11)), 0, 1e-6);

        var options = Options with { Prompt = prompt };
        GenerationOptions[] readings = [options, options with { Reading = new() { MaxTokenLength = 30 } }, options with { Prompt = $"({prompt}:1.5)", Reading = new() { Weighting = PromptWeighting.Scale } }];
        Assert.Equal(3, readings.Select(reading => Convert.ToHexString(pipeline.Generate(reading)[0].Pixels)).Distinct().Count());
        Assert.Contains("Reading.MaxTokenLength", Assert.Throws<ArgumentException>(() => pipeline.Generate(Options with { Reading = new() { MaxTokenLength = -1 } })).Message);
    }

    [Fact]
    public void Generate_SameOptionsTwice_GivesTheSameBytes()
    {
        using var pipeline = TinyPipeline.Create();
        Assert.True(pipeline.Generate(Options)[0].Pixels.SequenceEqual(pipeline.Generate(Options)[0].Pixels));
    }

    [Fact]
    public void Generate_OtherPromptNegativePromptOrGuidance_ChangesTheImage()
    {
        using var pipeline = TinyPipeline.Create();
        using var scope = NewDisposeScope();
        GenerationOptions[] changes = [Options with { Prompt = "blue shirt" }, Options with { NegativePrompt = "blue" }, Options with { Guidance = 6 }, Options with { ClipSkip = 2 }];
        var latents = Latents(pipeline, Options);
        Assert.All(changes, changed => Assert.True(Fixtures.MaxDifference(latents, Latents(pipeline, changed)) > 1e-4));
    }

    [Theory]
    [InlineData(1, 2)]
    [InlineData(3, 4)]
    public void Generate_Guidance_DecidesWhetherTheNegativeHalfIsComputed(double guidance, long batch)
    {
        using var pipeline = TinyPipeline.Create();
        var seen = new List<long>();
        pipeline.UNet.register_forward_hook((_, sample, _, _, output) =>
        {
            seen.Add(sample.size(0));
            return output;
        });
        pipeline.Generate(Options with { Guidance = guidance, Count = 2 });
        Assert.Equal(Enumerable.Repeat(batch, 4), seen);
    }

    [Fact]
    public void Denoise_GuidanceOfTwo_IsTheFormula()
    {
        using var pipeline = TinyPipeline.Create();
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var noise = randn(1, 3, 8, 8, generator: new Generator(1));
        var (cond, uncond) = (pipeline.EncodePrompts(["long hair"]), pipeline.EncodePrompts([""]));
        using var sampler = Sampler.Create(pipeline.Scheduler, 1);
        var actual = pipeline.Denoise(noise, cond, uncond, sampler, guidance: 2);

        var t = tensor(new[] { 999f });
        var v = 2 * pipeline.UNet.call(noise, t, cond) - pipeline.UNet.call(noise, t, uncond);
        using var again = Sampler.Create(pipeline.Scheduler, 1);
        Assert.InRange(Fixtures.MaxDifference(again.Step(v, 0, noise), actual), 0, 1e-5);
    }

    [Fact]
    public void Generate_Cancelled_StopsBetweenStepsAndLeavesNoTensor()
    {
        using var pipeline = TinyPipeline.Create();
        pipeline.Generate(Options with { Steps = 1 });
        using var cancellation = new CancellationTokenSource();
        var progress = new Recorder(steps =>
        {
            if (steps == 2)
            {
                cancellation.Cancel();
            }
        });
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        Assert.Throws<OperationCanceledException>(() => pipeline.Generate(Options, cancellation.Token, progress));
        Assert.Equal([1, 2], progress.Values);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Generate_SeveralBatches_ReportsEveryStep()
    {
        using var pipeline = TinyPipeline.Create();
        var progress = new Recorder(_ => { });
        pipeline.Generate(Options with { Steps = 3, Count = 2, BatchSize = 1 }, progress: progress);
        Assert.Equal(Enumerable.Range(1, 6), progress.Values);
    }

    [Fact]
    public void Generate_ManyTimes_KeepsTensorCountFlat()
    {
        using var pipeline = TinyPipeline.Create();
        var options = Options with { Sampler = SamplerKind.DpmPlusPlus2M };
        pipeline.Generate(options);
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 3; i++)
        {
            pipeline.Generate(options);
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Generate_SizeThatDoesNotDivide_NamesTheNearest()
    {
        using var pipeline = TinyPipeline.Create();
        var message = Assert.Throws<ArgumentException>(() => pipeline.Generate(Options with { Width = 17, Height = 24 })).Message;
        Assert.Contains("multiples of 2", message);
        Assert.Contains("16 × 24", message);
        Assert.Equal(24, pipeline.Generate(Options with { Height = 24, Steps = 1 })[0].Height);
    }

    [Fact]
    public void Generate_SeveralFaults_ListsAll()
    {
        using var pipeline = TinyPipeline.Create();
        var message = Assert.Throws<ArgumentException>(() => pipeline.Generate(new GenerationOptions { Steps = 0, Count = 0, Eta = 2 })).Message;
        Assert.All(new[] { "Steps", "Count", "Eta" }, name => Assert.Contains(name, message));
    }

    [Fact]
    public void Denoise_GuidanceWithoutNegative_IsAnError()
    {
        using var pipeline = TinyPipeline.Create();
        using var scope = NewDisposeScope();
        using var sampler = Sampler.Create(pipeline.Scheduler, 1);
        Assert.Throws<ArgumentException>(() => pipeline.Denoise(zeros(1, 3, 8, 8), pipeline.EncodePrompts([""]), null, sampler, 3));
    }

    [Fact]
    public void Constructor_ComponentsThatDoNotFit_ListsAll()
    {
        var message = Assert.Throws<ArgumentException>(() => TinyPipeline.Create(change: config => config with { CrossAttentionDim = 8, InChannels = 4 })).Message;
        Assert.Contains("size 6", message);
        Assert.Contains("3 latent channels", message);
    }

    [Fact]
    public void Save_Pipeline_ReadsBackToTheSameImage()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.Create();
        pipeline.Save(folder.Path);
        using var read = StableDiffusionPipeline.FromFolder(folder.Path);
        Assert.Equal(TinyPipeline.Scheduler, read.Scheduler with { OtherSettings = TinyPipeline.Scheduler.OtherSettings });
        Assert.True(pipeline.Generate(Options)[0].Pixels.SequenceEqual(read.Generate(Options)[0].Pixels));
    }

    [Fact]
    public void Save_HalfPrecision_HalvesTheWeights()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.Create();
        pipeline.Save(folder.Path, ScalarType.Float16);
        using var file = SafetensorsFile.Open(folder.In("unet", "diffusion_pytorch_model.safetensors"));
        Assert.All(file.Tensors.Values, tensor => Assert.Equal(ScalarType.Float16, tensor.DType));
        using var read = StableDiffusionPipeline.FromFolder(folder.Path);
        Assert.Equal(ScalarType.Float32, read.UNet.parameters().First().dtype);
    }

    [Fact]
    public void FromFolder_MissingComponents_AreAllNamed()
    {
        using var folder = new TemporaryFolder();
        using (var pipeline = TinyPipeline.Create())
        {
            pipeline.Save(folder.Path);
        }

        Directory.Delete(folder.In("vae"), recursive: true);
        File.Delete(folder.In("tokenizer", "merges.txt"));
        var message = Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.FromFolder(folder.Path)).Message;
        Assert.Contains("vae/config.json", message);
        Assert.Contains("tokenizer/merges.txt", message);
        Assert.DoesNotContain("unet", message);
    }

    [Fact]
    public void FromFolder_OnlyPickledWeights_AreRefusedWithTheReason()
    {
        using var folder = new TemporaryFolder();
        using (var pipeline = TinyPipeline.Create())
        {
            pipeline.Save(folder.Path);
        }

        File.Move(folder.In("unet", "diffusion_pytorch_model.safetensors"), folder.In("unet", "diffusion_pytorch_model.bin"));
        var message = Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.FromFolder(folder.Path)).Message;
        Assert.Contains("safetensors", message);
        Assert.Contains("run any code", message);
    }

    [Fact]
    public void FromFolder_PickledCheckpointFile_IsRefusedWithTheReason()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.In("model.ckpt"), [0x80, 2]);
        var message = Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFolder(folder.In("model.ckpt"))).Message;
        Assert.Contains("pickled", message);
        Assert.Contains("safetensors", message);
    }

    [Fact]
    public void FromFolder_NoOrOtherIndex_SaysWhatIsExpected()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("model_index.json", Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.FromFolder(folder.Path)).Message);
        File.WriteAllText(folder.In("model_index.json"), "{\"_class_name\": \"StableDiffusion3Pipeline\"}");
        Assert.Contains("StableDiffusion3Pipeline", Assert.Throws<InvalidDataException>(() => StableDiffusionPipeline.FromFolder(folder.Path)).Message);
    }

    private static Tensor Latents(StableDiffusionPipeline pipeline, GenerationOptions options)
    {
        using var sampler = Sampler.Create(pipeline.Scheduler, options.Steps);
        using var generator = new Generator(3);
        var noise = randn(1, 3, 8, 8, generator: generator);
        return pipeline.Denoise(noise, pipeline.EncodePrompts([options.Prompt], options.ClipSkip), pipeline.EncodePrompts([options.NegativePrompt]), sampler, options.Guidance);
    }

    /// <summary>The same picture, perhaps drawn in a batch of another size: such may take other kernels, whose last digits differ.</summary>
    internal static void AssertSame(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual)
    {
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.InRange(actual[i] - expected[i], -1, 1);
        }
    }

    private sealed class Recorder(Action<int> action) : IProgress<int>
    {
        public List<int> Values { get; } = [];

        public void Report(int value)
        {
            Values.Add(value);
            action(value);
        }
    }
}
