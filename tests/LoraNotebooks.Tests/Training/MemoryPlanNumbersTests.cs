using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>The numbers of a memory plan, counted by hand, and what is said of them.</summary>
public sealed class MemoryPlanNumbersTests
{
    private static readonly PipelineOutline Outline = new()
    {
        Source = "/models/tiny",
        UNet = TinyModels.UNet with { InChannels = 3, OutChannels = 3, SampleSize = 8 },
        Vae = TinyModels.Vae,
        TextEncoders = [new ClipTextConfig { VocabSize = 100, HiddenSize = 6, IntermediateSize = 12, NumHiddenLayers = 2, NumAttentionHeads = 2,
            MaxPositionEmbeddings = 12 }],
        Stored = [],
    };

    /// <summary>
    /// The UNet has its query layers in transformers of one level of 8 channels (one on the way down, two up) and in the middle, of 12, two in each: six
    /// of 8 by 8 and two of 12 by 12.
    /// </summary>
    private const long QueriesOfUNet = 6 * 2 * (8 + 8) + 2 * 2 * (12 + 12);

    private static readonly DiffusionTrainingConfig Config = new()
    {
        UNetLora = new LoraConfig { Rank = 2, Alpha = 2, TargetModules = ["to_q"] },
        TextEncoderLora = new LoraConfig { Rank = 3, Alpha = 3, TargetModules = ["q_proj"] },
    };

    [Fact]
    public void For_TinyModel_CountsWeightsAndAdapters()
    {
        var components = Plan(Config with { TextEncoderLearningRate = 1e-4 }).Components;

        // Words and places of six numbers; two layers of four projections, two norms and two layers of 6 by 12; a last norm.
        const long text = 100 * 6 + 12 * 6 + 2 * (4 * (6 * 6 + 6) + 2 * 12 + (6 * 12 + 12) + (12 * 6 + 6)) + 12;
        Assert.Equal(["unet", "vae", "text_encoder"], components.Select(static component => component.Name));
        Assert.Equal(text, components[2].Parameters);
        Assert.Equal([QueriesOfUNet, 0, 2 * 3 * (6 + 6)], components.Select(static component => component.Trained));
        Assert.Equal([QueriesOfUNet, 0, 0], Plan(Config).Components.Select(static component => component.Trained));
        Assert.Equal([0, 0, 72], Plan(Config with { UNetLearningRate = 0, TextEncoderLearningRate = 1 }).Components
            .Select(static component => component.Trained));
        Assert.Equal(QueriesOfUNet + 72, Plan(Config with { TextEncoderLearningRate = 1e-4 }).Trained);
        var two = Outline with { TextEncoders = [Outline.TextEncoders[0], Outline.TextEncoders[0] with { NumHiddenLayers = 3 }] };
        Assert.Equal(["unet", "vae", "text_encoder", "text_encoder_2"], MemoryPlan.For(two, Config).Components.Select(static component => component.Name));
        Assert.Equal([72, 108], MemoryPlan.For(two, Config with { TextEncoderLearningRate = 1 }).Components.Skip(2)
            .Select(static component => component.Trained));
    }

    [Theory]
    [InlineData(ScalarType.Float32, false, TrainingPrecision.AsLoaded, null, 4, 4, 0)]
    [InlineData(ScalarType.Float16, false, TrainingPrecision.AsLoaded, null, 2, 2, 0)]
    [InlineData(ScalarType.Float16, true, TrainingPrecision.AsLoaded, null, 2, 4, 0)]
    [InlineData(ScalarType.BFloat16, true, TrainingPrecision.BFloat16, 1.0, 2, 2, 0)]
    [InlineData(ScalarType.Float32, false, TrainingPrecision.BFloat16, null, 4, 4, 2)]
    [InlineData(ScalarType.Float32, false, TrainingPrecision.BFloat16, 1.0, 4, 4, 2)]
    public void Need_WeightsAdapterAndUpdate_AreExact(ScalarType type, bool upcasts, TrainingPrecision precision, double? textRate, int size, int vaeSize,
        int loweredSize)
    {
        var config = Config with { Precision = precision, TextEncoderLearningRate = textRate };
        var outline = Outline with { Vae = Outline.Vae with { ForceUpcast = upcasts } };

        var plan = MemoryPlan.For(outline, config, new MemoryPlanOptions { Types = [type], Resolutions = [16] });

        var (unet, vae, text) = (plan.Components[0].Parameters, plan.Components[1].Parameters, plan.Components[2].Parameters);
        var need = plan.Needs.Single();
        var trained = QueriesOfUNet + (textRate is null ? 0 : 72);
        Assert.Equal((type, 16), (need.Type, need.Resolution));
        Assert.Equal(size * (unet + text) + vaeSize * vae, need.Weights);
        Assert.Equal(12 * trained + loweredSize * (unet + (textRate is null ? 0 : text)), need.Adapter);
        Assert.Equal(12 * trained, need.Update);
    }

    [Theory]
    [InlineData(false, null, 1, 1, 4, 7.5)]
    [InlineData(true, null, 3, 3, 2, 7.5)]
    [InlineData(false, 1e-4, 2, 2, 4, 1.0)]
    [InlineData(false, 1e-4, 1, 5, 4, 1.0)]
    public void Need_OfEachStep_IsThatOfItsWalk(bool dora, double? textRate, int batch, int count, int drawn, double guidance)
    {
        var config = Config with
        {
            BatchSize = batch,
            TextEncoderLearningRate = textRate,
            UNetLora = Config.UNetLora with { UseDora = dora },
            SampleOptions = new() { Count = count, BatchSize = drawn, Guidance = guidance },
        };
        var images = Math.Min(count, drawn);

        var need = MemoryPlan.For(Outline, config, new MemoryPlanOptions { Types = [ScalarType.BFloat16], Resolutions = [12], TextTokens = 9 }).Needs.Single();

        var training = new TensorLedger(2, recordsGradients: true);
        if (textRate is not null)
        {
            new ClipTextWalk(Outline.TextEncoders[0], training)
            {
                Companion = static path =>
                path.EndsWith("q_proj", StringComparison.Ordinal) ? new LayerCompanion(3, 0) : null
            }.Run(batch, 9);
        }

        UNet(training).Run(batch, 6, 6, 9, textRate is not null);
        Assert.Equal((long)(training.Peak + 2 * training.Largest), need.TrainingStep);
        Assert.Equal(Peak(ledger => UNet(ledger).Run(guidance == 1 ? images : 2 * images, 6, 6, 9)), need.DrawingStep);
        Assert.Equal(Peak(ledger => new VaeWalk(Outline.Vae, ledger, ScalarType.BFloat16, DeviceType.CPU).Encode(1, 12, 12)), need.Encoding);
        Assert.Equal(Peak(ledger => new VaeWalk(Outline.Vae, ledger, ScalarType.BFloat16, DeviceType.CPU).Decode(images, 12, 12)), need.Decoding);

        // DoRA forms the update of a layer whole.
        UNetWalk UNet(TensorLedger ledger) => new(Outline.UNet, ledger, ScalarType.BFloat16, DeviceType.CPU)
        {
            Companion = path => !path.EndsWith("to_q", StringComparison.Ordinal) ? null
                : !dora ? new LayerCompanion(2, 0)
                : new LayerCompanion(0, path.StartsWith("mid_block", StringComparison.Ordinal) ? 144 : 64),
        };

        static long Peak(Action<TensorLedger> walk)
        {
            var ledger = new TensorLedger(2, recordsGradients: false);
            walk(ledger);
            return (long)ledger.Peak;
        }
    }

    [Fact]
    public void Need_LoweredPrecision_TrainsInThatAndDrawsInItsOwn()
    {
        var options = new MemoryPlanOptions { Types = [ScalarType.Float32, ScalarType.BFloat16], Resolutions = [16] };
        var (plain, lowered) = (MemoryPlan.For(Outline, Config, options),
            MemoryPlan.For(Outline, Config with { Precision = TrainingPrecision.BFloat16 }, options));

        Assert.Equal(plain.Needs[1].TrainingStep, lowered.Needs[0].TrainingStep);
        Assert.Equal(plain.Needs[0] with { Adapter = lowered.Needs[0].Adapter, TrainingStep = plain.Needs[1].TrainingStep }, lowered.Needs[0]);
        Assert.Equal(plain.Needs[1], lowered.Needs[1]);
    }

    [Theory]
    [InlineData(10, 3, 2, 1, 1, 1, 11, 18)]
    [InlineData(10, 3, 2, 1, 9, 1, 11, 22)]
    [InlineData(10, 3, 2, 1, 1, 9, 19, 22)]
    [InlineData(10, 9, 2, 6, 1, 1, 16, 24)]
    [InlineData(0, 0, 0, 7, 8, 6, 7, 8)]
    public void Need_Sums_AreWeightsAndTheLargestOfWhatComesOneAfterAnother(long weights, long step, long update, long drawing, long encoding, long decoding,
        long toDraw, long toTrain)
    {
        var need = new MemoryNeed(ScalarType.Float32, 16)
        {
            Weights = weights,
            Adapter = weights == 0 ? 0 : 3,
            Update = update,
            TrainingStep = step,
            Encoding = encoding,
            DrawingStep = drawing,
            Decoding = decoding
        };

        Assert.Equal((toDraw, toTrain), (need.ToDraw, need.ToTrain));
    }

    [Theory]
    [InlineData(1000L, 900, true)]
    [InlineData(1000L, 901, false)]
    [InlineData(null, long.MaxValue, true)]
    public void Fits_ATenthToSpare_IsTheBound(long? available, long bytes, bool expected)
    {
        var need = Need(ScalarType.Float32, 16, bytes);
        var plan = Told([need], available);

        Assert.Equal((expected, expected), (plan.Fits(bytes), plan.Fits(need)));
        Assert.Equal(expected ? [need] : [], plan.Fitting);
    }

    [Theory]
    [InlineData(8, new[] { 8, 16, 24 })]
    [InlineData(5, new[] { 4, 10, 14 })]
    [InlineData(1, new[] { 2 })]
    [InlineData(null, new[] { 64, 128, 192 })]
    public void For_NoResolutions_TakesHalfTheModelsSizeItAndHalfMore(int? size, int[] expected)
    {
        var plan = MemoryPlan.For(Outline with { UNet = Outline.UNet with { SampleSize = size } }, Config);

        Assert.Equal(expected, plan.Needs.Select(static need => need.Resolution).Distinct());
        Assert.Equal([ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16], plan.Needs.Take(3).Select(static need => need.Type));
        Assert.Equal(3 * expected.Length, plan.Needs.Count);
        Assert.Equal(plan.Needs[1], plan[ScalarType.BFloat16, expected[0]]);
        Assert.Equal(plan.Needs[^1], plan[ScalarType.Float16, expected[^1]]);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-2)]
    [InlineData(1)]
    [InlineData(17)]
    public void For_ResolutionOffTheFactor_IsRefused(int side)
    {
        var message = Assert.Throws<ArgumentException>(() => MemoryPlan.For(Outline, Config, new MemoryPlanOptions { Resolutions = [16, side, 3] })).Message;

        Assert.Equal($"Got a resolution of {side} pixels, expected multiples of 2, by which the autoencoder shrinks images. (Parameter 'options')", message);
        Assert.Equal(2, MemoryPlan.For(Outline, Config, new MemoryPlanOptions { Resolutions = [2], Types = [ScalarType.Float32] }).Needs.Single().Resolution);
    }

    [Fact]
    public void For_NothingOrWrongSettings_IsRefused()
    {
        Assert.Equal("model", Assert.Throws<ArgumentNullException>(() => MemoryPlan.For(null!, Config)).ParamName);
        Assert.Equal("config", Assert.Throws<ArgumentNullException>(() => MemoryPlan.For(Outline, null!)).ParamName);
        Assert.Contains("BatchSize: got 0", Assert.Throws<ArgumentException>(() => MemoryPlan.For(Outline, Config with { BatchSize = 0 })).Message,
            StringComparison.Ordinal);
        Assert.Equal(
            "The plan has no need of BFloat16 at 32 pixels; it compares Float32 at 16, BFloat16 at 16. Name it in MemoryPlanOptions.",
            Assert.Throws<ArgumentException>(() =>
                MemoryPlan.For(Outline, Config,
                new MemoryPlanOptions { Resolutions = [16], Types = [ScalarType.Float32, ScalarType.BFloat16] })[ScalarType.BFloat16, 32]).Message);
        Assert.Equal((77, null, null), (new MemoryPlanOptions().TextTokens, new MemoryPlanOptions().AvailableBytes, new MemoryPlanOptions().Device));
        Assert.Null(MemoryPlan.For(Outline, Config, new MemoryPlanOptions { Resolutions = [16], Device = META }).AvailableBytes);
        Assert.NotNull(MemoryPlan.For(Outline, Config, new MemoryPlanOptions { Resolutions = [16] }).AvailableBytes);
    }

    [Fact]
    public void ToString_Needs_AreALineEach()
    {
        var plan = Told([Need(ScalarType.Float32, 16, 2_000_000), Need(ScalarType.BFloat16, 1024, 999), Need(ScalarType.Float16, 8, 12_340_000_000)],
            10_000_000_000);

        Assert.Equal(
            """
            tiny: 1,239 weights, of which the LoRA trains 12 beside them
              Float32     16 px  weights 2.0 MB, to draw 2.0 MB, to train 2.0 MB
              BFloat16  1024 px  weights 999 B, to draw 999 B, to train 999 B
              Float16      8 px  weights 12.34 GB, to draw 12.34 GB, to train 12.34 GB  does not fit
            Of 10.00 GB free: training fits up to 1024 pixels in BFloat16.
            """.ReplaceLineEndings("\n"),
            plan.ToString());
        Assert.Contains("weights 1.0 MB,", Told([Need(ScalarType.Float32, 16, 1_000_000)], null).ToString(), StringComparison.Ordinal);
        Assert.Contains("weights 1.00 GB,", Told([Need(ScalarType.Float32, 16, 1_000_000_000)], null).ToString(), StringComparison.Ordinal);
        Assert.Contains("weights 1.0 MB,", Told([Need(ScalarType.Float32, 16, 999_999)], null).ToString(), StringComparison.Ordinal);
        Assert.Contains("weights 1.00 GB,", Told([Need(ScalarType.Float32, 16, 999_999_999)], null).ToString(), StringComparison.Ordinal);
        Assert.EndsWith("\nHow much memory is free is not known here; compare the figures with what your device has.",
            Told([Need(ScalarType.Float32, 16, 1)], null).ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Advice_OfWhatFits_NamesTheLargestAndWarnsOfFloat16()
    {
        MemoryNeed[] needs = [Need(ScalarType.Float32, 16, 100), Need(ScalarType.BFloat16, 16, 50), Need(ScalarType.Float32, 32, 200),
            Need(ScalarType.BFloat16, 32, 90), Need(ScalarType.Float16, 32, 90)];

        Assert.Equal(
            [
                "Of 100 B free: training fits up to 32 pixels in BFloat16, Float16.",
                "Prefer BFloat16 to Float16 for training where the device has it: Float16's range is narrow, and gradients vanish in it.",
            ],
            Told(needs, 100).Advice);
        Assert.Equal(["Of 300 B free: training fits up to 32 pixels in Float32, BFloat16."], Told(needs[..4], 300).Advice);
        Assert.Equal(["Of 60 B free: training fits up to 16 pixels in BFloat16."], Told(needs, 60).Advice);
    }

    [Theory]
    [InlineData(1, 1, false, false, false)]
    [InlineData(4, 3, false, false, false)]
    [InlineData(1, 3, true, false, true)]
    [InlineData(1, 1, false, true, false)]
    [InlineData(2, 1, true, true, true)]
    public void Advice_NothingFits_NamesWhatMakesItLess(int batch, int accumulation, bool isFloatOnly, bool trainsBoth, bool drawingFits)
    {
        MemoryNeed[] needs = [Need(ScalarType.Float32, 16, 3000), Need(isFloatOnly ? ScalarType.Float32 : ScalarType.BFloat16, 8, 2000),
            Need(ScalarType.Float32, 32, 5000)];
        if (drawingFits)
        {
            needs[0] = needs[0] with { Weights = 900, Adapter = 2100 };
        }

        var plan = Told(needs, 1000) with
        {
            Config = Config with
            {
                BatchSize = batch,
                GradientAccumulation = accumulation,
                TextEncoderLearningRate = trainsBoth ? 1 : null
            }
        };

        List<string> expected = [$"Nothing fits into 1.0 kB: the least, {needs[1].Type} at 8 pixels, needs 2.0 kB."];
        var smaller = $"Set BatchSize to 1 and GradientAccumulation to {batch * accumulation}: the same updates, with the tensors of one image at a time.";
        expected.AddRange(batch > 1 ? [smaller] : []);
        expected.AddRange(isFloatOnly ? ["Load the weights in bfloat16: they and the tensors of a step take half."] : []);
        expected.AddRange(trainsBoth ? ["Leave the text encoder frozen (TextEncoderLearningRate null)."] : []);
        expected.Add(drawingFits
            ? "Drawing fits: a LoRA trained elsewhere can be looked at here. For training take a lower resolution or a smaller model."
            : "Take a smaller model, or a machine with more memory; closing other programs may free some.");
        Assert.Equal(expected, plan.Advice);
        Assert.DoesNotContain(
            "Leave the text encoder frozen (TextEncoderLearningRate null).",
            (plan with { Config = Config with { UNetLearningRate = 0, TextEncoderLearningRate = 1 } }).Advice);
    }

    [Fact]
    public void AvailableMemory_OfTheMachine_IsWhatIsNotInUse()
    {
        var free = AvailableMemory.Of();
        var info = GC.GetGCMemoryInfo(GCKind.Any);

        // What other programs take in between is a part of the machine's at most.
        Assert.Equal(info.TotalAvailableMemoryBytes - info.MemoryLoadBytes, free!.Value, 0.1 * info.TotalAvailableMemoryBytes);
        Assert.InRange(free.Value, 0, info.TotalAvailableMemoryBytes);
        Assert.NotNull(AvailableMemory.Of(CPU));
        Assert.Null(AvailableMemory.Of(META));
    }

    [Theory]
    [InlineData("echo ' 1234 '", -1, 0)]
    [InlineData("echo 1234", 3, 3)]
    [InlineData("echo '[N/A]'", 0, null)]
    [InlineData("echo -5", 0, null)]
    [InlineData("echo no device >&2; exit 6", 0, null)]
    [InlineData(null, 0, null)]
    public void AvailableMemory_OfACudaDevice_IsWhatItsToolTells(string? answer, int index, int? asked)
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        using var folder = new TemporaryFolder();
        var path = Environment.GetEnvironmentVariable("PATH");
        if (answer is not null)
        {
            File.WriteAllText(folder.In("nvidia-smi"), $"#!/bin/sh\nprintf '%s ' \"$@\" > '{folder.In("asked")}'\n{answer}\n");
            File.SetUnixFileMode(folder.In("nvidia-smi"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }

        long? free;
        try
        {
            Environment.SetEnvironmentVariable("PATH", folder.Path);
            free = AvailableMemory.Of(new Device(DeviceType.CUDA, index));
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", path);
        }

        Assert.Equal(asked is null ? null : 1234L * 1024 * 1024, free);
        if (asked is not null)
        {
            Assert.Equal($"--query-gpu=memory.free --format=csv,noheader,nounits --id={asked} ", File.ReadAllText(folder.In("asked")));
        }
    }

    private static MemoryPlan Plan(DiffusionTrainingConfig config) =>
        MemoryPlan.For(Outline, config, new MemoryPlanOptions { Resolutions = [16], Types = [ScalarType.Float32] });

    private static MemoryPlan Told(IReadOnlyList<MemoryNeed> needs, long? available) => new()
    {
        Model = Outline,
        Config = Config,
        Components = [new("unet", 1234, 5), new("vae", 5, 7)],
        Needs = needs,
        AvailableBytes = available,
    };

    /// <summary>A need whose sums are so large.</summary>
    private static MemoryNeed Need(ScalarType type, int resolution, long bytes) =>
        new(type, resolution) { Weights = bytes, Adapter = 0, Update = 0, TrainingStep = 0, Encoding = 0, DrawingStep = 0, Decoding = 0 };
}
