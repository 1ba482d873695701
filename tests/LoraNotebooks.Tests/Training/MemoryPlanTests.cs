using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class MemoryPlanTests
{
    private static readonly string[] Attention = ["to_q", "to_k", "to_v", "to_out.0"];

    public static TheoryData<string> Models => ["sd15-tiny", "sd2-tiny", "base", "xl"];

    public static TheoryData<string, bool, string[]> Adapters => new()
    {
        { nameof(AdapterMethod.Lora), false, Attention },
        { nameof(AdapterMethod.Lora), true, ["to_q", "conv1", "ff.net.2"] },
        { nameof(AdapterMethod.Loha), false, ["to_q", "conv2"] },
        { nameof(AdapterMethod.Lokr), false, ["to_k", "conv1"] },
    };

    [Theory]
    [MemberData(nameof(Models))]
    public void For_AnyModel_CountsTheWeightsAndTheAdapterThatLoadingAndTrainingMake(string name)
    {
        using var folder = new TemporaryFolder();
        var path = Folder(name, folder);
        var config = new DiffusionTrainingConfig { TextEncoderLearningRate = 1e-4 };

        var plan = MemoryPlan.For(PipelineOutline.Read(path), config, new MemoryPlanOptions { TextTokens = 12 });

        using var pipeline = StableDiffusionPipeline.FromFolder(path);
        nn.Module[] networks = [pipeline.UNet, pipeline.Vae, .. pipeline.Text.Encoders];
        using var lora = StableDiffusionLora.Create(pipeline, "lora", config.UNetLora, config.TextEncoderLora, 1);
        var reports = lora.Reports.ToDictionary(static report => report.Name, static report => report.Parameters);
        Assert.Equal(
            networks.Select(static network => network.state_dict().Values.Sum(static weight => weight.numel())),
            plan.Components.Select(static component => component.Parameters));
        Assert.Equal(reports.Values.Sum(), plan.Trained);
        Assert.Equal(reports["lora, unet"], plan.Components[0].Trained);
        var need = plan[ScalarType.BFloat16, plan.Model.NativeSize];
        Assert.Equal(2 * plan.Components.Sum(static component => component.Parameters), need.Weights);
        Assert.Equal(12 * plan.Trained, need.Adapter);
        Assert.Equal(pipeline.NativeSize, plan.Model.NativeSize);
        Assert.Equal(pipeline.Text.IsDual, plan.Model.IsXL);
    }

    [Theory]
    [MemberData(nameof(Adapters))]
    public void For_AnyAdapter_CountsWhatItTrains(string name, bool dora, string[] targets)
    {
        var method = AdapterMethod.Named(name);
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.Create();
        pipeline.Save(folder.Path);
        var settings = new LoraConfig { Method = method, UseDora = dora, Rank = 2, Alpha = 2, TargetModules = [.. targets] };

        var plan = MemoryPlan.For(PipelineOutline.Read(folder.Path), new DiffusionTrainingConfig { UNetLora = settings });

        using var lora = StableDiffusionLora.Create(pipeline, "lora", settings, null, 1);
        Assert.Equal(lora.Reports.Single().Parameters, plan.Trained);
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void Walks_OverAnArchitecture_MeetTheLayersOfTheNetworkWithTheSizesOfTheirOutputs(string name)
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var path = Folder(name, folder);
        var outline = PipelineOutline.Read(path);
        using var pipeline = StableDiffusionPipeline.FromFolder(path);
        var (side, tokens) = (outline.UNet.SampleSize!.Value - 2, pipeline.Tokenizer.ModelMaxLength);
        var pixels = side * outline.DownsamplingFactor;
        var ids = pipeline.Tokenize(["long hair", ""]);
        var conditioning = pipeline.EncodePrompts(["long hair", ""]);

        var unet = Layers(pipeline.UNet, () => pipeline.UNet.call(randn(2, outline.UNet.InChannels, side, side), tensor(5L).reshape(1), conditioning));
        var encoded = Layers(pipeline.Vae, () => pipeline.Vae.Encode(randn(1, 3, pixels, pixels)));
        var decoded = Layers(pipeline.Vae, () => pipeline.Vae.Decode(randn(2, outline.Vae.LatentChannels, side, side)));
        var texts = pipeline.Text.Encoders.Select((encoder, i) => Layers(encoder, () => Run(encoder, pipeline.Text.IsDual ? ids[i] : ids))
            .Where(static layer => !layer.Path.Contains("embedding", StringComparison.Ordinal)));

        Assert.Equal(
            unet,
            Walk((ledger, seen) => new UNetWalk(outline.UNet, ledger, ScalarType.Float32, DeviceType.CPU) { LayerDone = seen }.Run(2, side, side, tokens)));
        Assert.Equal(
            encoded,
            Walk((ledger, seen) => new VaeWalk(outline.Vae, ledger, ScalarType.Float32, DeviceType.CPU) { LayerDone = seen }.Encode(1, pixels, pixels)));
        Assert.Equal(
            decoded,
            Walk((ledger, seen) => new VaeWalk(outline.Vae, ledger, ScalarType.Float32, DeviceType.CPU) { LayerDone = seen }.Decode(2, pixels, pixels)));
        Assert.Equal(texts, outline.TextEncoders.Select(text => Walk((ledger, seen) => new ClipTextWalk(text, ledger) { LayerDone = seen }.Run(2, tokens))));

        static void Run(ClipTextModel encoder, Tensor ids)
        {
            if (encoder.Config.HasProjection)
            {
                encoder.HiddenStatesAndTextEmbeds(ids);
            }
            else
            {
                encoder.call(ids);
            }
        }
    }

    [Fact]
    public void Walk_TrainedPooledText_IsReadBackFromTheFirstResidualBlockOn()
    {
        using var folder = new TemporaryFolder();
        var unet = PipelineOutline.Read(Folder("xl", folder)).UNet;
        var (channels, pixels) = (unet.BlockOutChannels[0], 8 * 8);

        // Of the first block, which no hidden states reach: h + time, the second norm's and convolution's input, and what the skip adds to.
        var more = Saved(unet) - Saved(unet with { AdditionEmbedType = null, AdditionTimeEmbedDim = null, ProjectionClassEmbeddingsInputDim = null });
        Assert.True(more >= 2 * 4 * channels * pixels, $"{more} bytes");

        static double Saved(UNetConfig config)
        {
            var ledger = new TensorLedger(4, recordsGradients: true);
            new UNetWalk(config, ledger, ScalarType.Float32, DeviceType.CPU).Run(1, 8, 8, 12, trainsText: true);
            return ledger.Saved;
        }
    }

    [Fact]
    public void Ledger_ScopesAndRecording_KeepWhatTheBackwardPassReads()
    {
        var ledger = new TensorLedger(4, recordsGradients: true);
        var frozen = ledger.Input(10);
        using (var scope = ledger.NewScope())
        {
            var before = ledger.MakeSaving(10, frozen); // no gradient reaches it
            var trained = ledger.MakeTrained(2, frozen); // reads its input
            var activated = ledger.MakeSaving(5, before, trained); // reads both
            scope.Out(ledger.Make(5, activated));
        }

        Assert.Equal(4 * (10 + 10 + 2), ledger.Saved);
        Assert.Equal(4 * (10 + 10 + 2 + 5 + 5), ledger.Peak);
        ledger.Make(10); // beside input, kept ones and the result; the activation is gone
        Assert.Equal(4 * (10 + 10 + 2 + 5 + 10), ledger.Peak);
        Assert.Equal(40, ledger.Largest);
    }

    [Fact]
    public void Need_LargerOrMore_IsMore()
    {
        var outline = PipelineOutline.Read(BaseModel.Folder);
        var options = new MemoryPlanOptions { Resolutions = [64, 128] };
        var one = MemoryPlan.For(outline, new DiffusionTrainingConfig(), options);
        var four = MemoryPlan.For(outline, new DiffusionTrainingConfig { BatchSize = 4 }, options);
        var accumulated = MemoryPlan.For(outline, new DiffusionTrainingConfig { GradientAccumulation = 4 }, options);
        var lowered = MemoryPlan.For(outline, new DiffusionTrainingConfig { Precision = TrainingPrecision.BFloat16 }, options);

        Assert.True(one[ScalarType.Float32, 128].TrainingStep > 3 * one[ScalarType.Float32, 64].TrainingStep);
        Assert.True(four[ScalarType.Float32, 64].TrainingStep > 3 * one[ScalarType.Float32, 64].TrainingStep);
        Assert.Equal(one.Needs, accumulated.Needs);
        Assert.Equal(2 * one.Components[0].Parameters, lowered[ScalarType.Float32, 64].Adapter - one[ScalarType.Float32, 64].Adapter);
        Assert.True(lowered[ScalarType.Float32, 64].TrainingStep < one[ScalarType.Float32, 64].TrainingStep);
        Assert.True(one[ScalarType.Float32, 64].TrainingStep > 2 * one[ScalarType.Float32, 64].DrawingStep);
    }

    [Fact]
    public void Advice_MemoryOfAnySize_NamesWhatFitsOrWhatToDo()
    {
        var outline = PipelineOutline.Read(BaseModel.Folder);
        MemoryPlan Plan(long bytes) =>
            MemoryPlan.For(outline, new DiffusionTrainingConfig { BatchSize = 4 }, new MemoryPlanOptions { AvailableBytes = bytes, Resolutions = [64, 512] });

        Assert.Contains("training fits up to 512 pixels in Float32, BFloat16, Float16", Plan(1L << 40).Advice[0], StringComparison.Ordinal);
        Assert.Contains("Nothing fits", Plan(1_000).Advice[0], StringComparison.Ordinal);
        Assert.Contains(Plan(1_000).Advice, static line => line.Contains("GradientAccumulation to 4", StringComparison.Ordinal));
        Assert.Empty(Plan(1_000).Fitting);
        var need = Plan(0)[ScalarType.Float32, 64];
        Assert.Contains(need, Plan((long)(need.ToTrain / 0.9) + 1).Fitting);
        Assert.DoesNotContain(need, Plan(need.ToTrain).Fitting);
    }

    [Fact]
    public void For_ResolutionThatDoesNotFit_NamesTheMultiple()
    {
        var outline = PipelineOutline.Read(BaseModel.Folder);
        var message = Assert.Throws<ArgumentException>(
            () => MemoryPlan.For(outline, new DiffusionTrainingConfig(), new MemoryPlanOptions { Resolutions = [64, 66] })).Message;
        Assert.Contains("66 pixels, expected multiples of 4", message, StringComparison.Ordinal);
        Assert.Contains(
            "BFloat16 at 96",
            Assert.Throws<ArgumentException>(() => MemoryPlan.For(outline, new DiffusionTrainingConfig())[ScalarType.Float32, 72]).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void For_Plan_LeavesNoTensorsBehind()
    {
        var outline = PipelineOutline.Read(BaseModel.Folder);
        using var scope = NewDisposeScope();
        MemoryPlan.For(outline, new DiffusionTrainingConfig { TextEncoderLearningRate = 1e-4 });
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        MemoryPlan.For(outline, new DiffusionTrainingConfig { TextEncoderLearningRate = 1e-4 });
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static string Folder(string name, TemporaryFolder folder)
    {
        if (name == "base")
        {
            return BaseModel.Folder;
        }

        if (name != "xl")
        {
            return Fixtures.Case(name);
        }

        using var pipeline = TinyPipeline.CreateXL();
        pipeline.Save(folder.Path);
        return folder.Path;
    }

    /// <summary>The layers with weights that a forward runs, with the numbers of their outputs.</summary>
    private static List<(string Path, double Numbers)> Layers(nn.Module network, Action run)
    {
        var found = new List<(string, double)>();
        var hooks = network.named_modules()
            .Where(static pair => !pair.module.children().Any() && pair.module.parameters().Any() && pair.module is nn.Module<Tensor, Tensor>)
            .Select(pair => ((nn.Module<Tensor, Tensor>)pair.module).register_forward_hook((_, _, y) =>
            {
                found.Add((pair.name, y.numel()));
                return y;
            })).ToList();
        run();
        hooks.ForEach(static hook => hook.remove());
        return found;
    }

    private static List<(string Path, double Numbers)> Walk(Action<TensorLedger, Action<string, double>> walk)
    {
        var found = new List<(string, double)>();
        walk(new TensorLedger(4, recordsGradients: false), (path, numbers) => found.Add((path, numbers)));
        return found;
    }
}
