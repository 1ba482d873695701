using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>The trainer, a LoRA and its file on a model of SDXL's kind.</summary>
public sealed class SdxlTrainingTests
{
    private static readonly string[] TextTargets = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"];

    [Theory]
    [InlineData(null)]
    [InlineData(5e-4)]
    public void Train_ModelWithTwoEncoders_LearnsSavesLoadsAndLeavesNoTensorBehind(double? textRate)
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var config = TinyRun.Config(folder.Path) with { TextEncoderLearningRate = textRate };
        var live = new List<long>();
        var options = new GenerationOptions { Prompt = "blue shirt", Steps = 2 };
        var before = pipeline.Generate(options)[0].Pixels.ToArray();
        string file;
        using (var result = new LoraTrainer().Train(
            config,
            pipeline,
            TinyRun.Dataset,
            new Immediate<TrainingStep>(_ => live.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount))))
        {
            file = result.Checkpoints[^1];
            Assert.All(result.Steps, step => Assert.True(step.GradientNorm > 0));
            Assert.NotEqual(before, pipeline.Generate(options)[0].Pixels.ToArray());
        }

        Assert.Single(live.Skip(1).Distinct());
        Assert.Equal(before, pipeline.Generate(options)[0].Pixels.ToArray());
        using (var saved = SafetensorsFile.Open(file))
        {
            string[] expected = textRate is null ? ["lora_unet"] : ["lora_te1", "lora_te2", "lora_unet"];
            Assert.Equal(expected, saved.Tensors.Keys.Select(key => string.Join('_', key.Split('_')[..2])).Distinct().Order());
            Assert.Equal("stable-diffusion-xl-v1-base/lora", saved.Metadata["modelspec.architecture"]);
        }

        using var lora = StableDiffusionLora.Load(pipeline, file);
        Assert.Equal(textRate is not null, lora.TextEncoder2 is not null);
        Assert.NotEqual(before, pipeline.Generate(options)[0].Pixels.ToArray());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Train_BothEncoders_EveryLayerThatThePicturesDependOnLearns(int clipSkip)
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var config = Both(folder.Path) with { ClipSkip = clipSkip };

        using var result = new LoraTrainer().Train(config, pipeline, TinyRun.Dataset);

        // Of three layers each encoder gives the states after the second, with clip skip after the first; the second's pooled text comes from its last.
        string[] targets = [.. TextTargets.Select(static target => (target.StartsWith("fc", StringComparison.Ordinal) ? "mlp." : "self_attn.") + target)];
        string[] layers = [.. from layer in new[] { 1, 2 }
            where layer > 2 - clipSkip
            from target in targets
            select $"text_model.encoder.layers.{layer}.{target}"];
        using var scope = NewDisposeScope();
        using var saved = SafetensorsFile.Open(result.File);
        var ups = saved.Tensors.Keys.Where(static key => key.EndsWith(".lora_up.weight", StringComparison.Ordinal))
            .ToLookup(key => saved.Load(key).abs().max().item<float>() > 0);
        Assert.Equal(["lora_te1", "lora_te2", "lora_unet"], ups[true].Select(static key => string.Join('_', key.Split('_')[..2])).Distinct().Order());
        Assert.Equal(layers.Select(static layer => $"lora_te1_{layer.Replace('.', '_')}.lora_up.weight").Order(), ups[false].Order());
        Assert.Equal(layers.Select(static layer => "text_encoder." + layer).Order(), result.UntrainedLayers.Order());
        var record = JsonNode.Parse(File.ReadAllText(result.RecordFile))!;
        Assert.Equal(result.UntrainedLayers, record["untrainedLayers"]!.AsArray().Select(static layer => (string)layer!));
    }

    [Fact]
    public void Train_BothEncoders_AreBoundedInTheirNorms()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var config = Both(folder.Path) with { UNetLearningRate = 0.1, TextEncoderLearningRate = 0.1, ScaleWeightNorms = 0.2 };

        using var result = new LoraTrainer().Train(config, pipeline, TinyRun.Dataset);

        using var scope = NewDisposeScope();
        Assert.Equal(["unet", "text_encoder", "text_encoder_2"], result.Lora.Networks.Select(static network => network.Name));
        Assert.All(result.Lora.Networks, network =>
            Assert.Equal(0.2, network.Model.GetLayers("tiny").Max(static layer => layer.WeightDelta()!.norm().item<float>()), 1e-5));
    }

    [Fact]
    public void Train_BothEncodersStoppedAndResumed_GivesTheWeightsOfAnUninterruptedRun()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var config = Both(folder.In("straight"));
        config = config with
        {
            TextEncoderLora = config.TextEncoderLora with { Dropout = 0.3 },
            UNetLora = config.UNetLora with { Dropout = 0.3 },
            LoraPlusLrRatio = 4,
        };
        var straight = Weights(config, null);

        using var source = new CancellationTokenSource();
        var stop = new Immediate<TrainingStep>(step =>
        {
            if (step.Step == 5)
            {
                source.Cancel();
            }
        });
        var interrupted = config with { OutputFolder = folder.In("stopped") };
        using var first = new LoraTrainer().Train(interrupted, pipeline, TinyRun.Dataset, stop, source.Token);
        first.Dispose();

        Assert.Equal(straight, Weights(interrupted, first.StateFile));

        Dictionary<string, float[]> Weights(DiffusionTrainingConfig settings, string? state)
        {
            using var result = new LoraTrainer { ResumeFrom = state }.Train(settings, pipeline, TinyRun.Dataset);
            using var scope = NewDisposeScope();
            return result.Lora.Networks
                .SelectMany(static network => network.Model.NamedParameters("tiny").Select(pair => (Name: $"{network.Name}.{pair.Name}", pair.Parameter)))
                .ToDictionary(static pair => pair.Name, static pair => pair.Parameter.detach().data<float>().ToArray());
        }
    }

    [Fact]
    public void TrainedGroups_BothEncoders_LearnAtTheTextEncodersRate()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var config = Both(folder.Path) with { Schedule = new LearningRateSchedule { Kind = ScheduleKind.Constant } };
        using var lora = StableDiffusionLora.Create(pipeline, "tiny", config.UNetLora, config.TextEncoderLora, seed: 1);

        var plain = new TrainedGroups(config, DiffusionTask.NetworksOf(lora, config));
        var plus = new TrainedGroups(config with { LoraPlusLrRatio = 4 }, DiffusionTask.NetworksOf(lora, config));

        Assert.Equal(
            [("unet", 1e-3), ("text_encoder", 5e-4), ("text_encoder_2", 5e-4)],
            plain.Groups.Select(static group => group.Name).Zip(plain.Rates(0, 10)));
        Assert.Equal(
            [("unet", 1e-3), ("unet, B", 4e-3), ("text_encoder", 5e-4), ("text_encoder, B", 2e-3), ("text_encoder_2", 5e-4), ("text_encoder_2, B", 2e-3)],
            plus.Groups.Select(static group => group.Name).Zip(plus.Rates(0, 10)));
        Assert.Equal(lora.UNetParameters.Count + lora.TextEncoderParameters.Count, plain.Groups.Sum(static group => group.Parameters.Count));
    }

    [Fact]
    public void SeedDropout_EncodersThatAreAlike_DropDifferentNumbers()
    {
        using var folder = new TemporaryFolder();
        using var model = TinyPipeline.CreateXL();
        model.Save(folder.Path);
        ClipTextModel[] alike = [.. Enumerable.Range(0, 2).Select(_ => ClipTextModel.FromFolder(folder.In("text_encoder_2")))];
        var text = new TextEncoders(model.Tokenizer, alike[0], model.Text.Tokenizers[1], alike[1]);
        var unet = new UNet2DConditionModel(model.UNet.Config with { CrossAttentionDim = 2 * text.Encoders[0].Config.HiddenSize }, new Generator(3));
        using var pipeline = new StableDiffusionPipeline(text, unet, model.Vae, model.Scheduler);
        var config = Both(folder.Path);
        using var lora = StableDiffusionLora.Create(pipeline, "tiny", config.UNetLora, config.TextEncoderLora with { Dropout = 0.5 }, seed: 1);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        foreach (var parameter in lora.TextEncoderParameters)
        {
            parameter.fill_(1);
        }

        var ids = pipeline.Tokenize(["portrait"])[0];
        lora.Eval();
        Assert.Equal(States(0), States(1));
        lora.Train();
        lora.SeedDropout(5);
        Assert.NotEqual(States(0), States(1));
        lora.SeedDropout(5);
        var first = States(0);
        lora.SeedDropout(5);
        Assert.Equal(first, States(0));

        float[] States(int encoder) => text.Encoders[encoder].HiddenStates(ids).data<float>().ToArray();
    }

    [Fact]
    public void Train_GradientsOfAllNetworks_AreClippedToOneNorm()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var config = Both(folder.Path) with { Epochs = 1, BatchSize = 5 };
        using var scope = NewDisposeScope();

        var (plain, norm, _) = FirstMoment(config with { MaxGradientNorm = null });
        var limit = norm / 7;
        var (clipped, _, sizes) = FirstMoment(config with { MaxGradientNorm = limit });

        // m = (1 − β₁)·g after one step.
        Assert.Equal(0.1 * norm, plain.norm().item<float>(), 1e-5 * norm);
        Assert.All(plain.split(sizes).Zip(clipped.split(sizes)), pair =>
        {
            var part = pair.First.norm().item<float>();
            Assert.True(part > 0);
            Assert.Equal(part / 7, pair.Second.norm().item<float>(), 1e-4 * part);
        });

        (Tensor Moment, double Norm, long[] Sizes) FirstMoment(DiffusionTrainingConfig settings)
        {
            using var result = new LoraTrainer().Train(settings, pipeline, TinyRun.Dataset);
            using var state = SafetensorsFile.Open(result.StateFile);
            var parameters = result.Lora.Networks.Select(static network => network.Model.TrainableParameters("tiny"));
            long[] counts = [.. parameters.Select(static some => some.Sum(static parameter => parameter.numel()))];
            return (state.Load("first_moment"), result.Steps.Single().GradientNorm, counts);
        }
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public void Draw_ImagesOfOneCaption_AreToldTheirOwnSizesHeightsFirst(bool trainsText, bool shuffles)
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var config = Both(folder.Path) with { TextEncoderLearningRate = trainsText ? 1e-3 : null, Captions = new CaptionOptions { Shuffle = shuffles } };
        PreparedImage[] images =
        [
            new("cut", new RgbImage(16, 12, new byte[16 * 12 * 3]), "portrait", "a.png") { Origin = new ImageOrigin(Width: 50, Height: 70, Left: 3, Top: 9) },
            new("whole", new RgbImage(16, 12, new byte[16 * 12 * 3]), "portrait", "b.png"),
        ];
        using var scope = NewDisposeScope();
        using var set = new TrainingSet(pipeline, config, new PreparedDataset(images), new NoiseSchedule(pipeline.Scheduler), default);

        var batch = set.Draw([1, 0, 1], 0);

        Assert.Equal([12, 16, 0, 0, 12, 16, 70, 50, 9, 3, 12, 16, 12, 16, 0, 0, 12, 16], batch.Text.TimeIds!.data<float>().ToArray());
        Assert.Equal([3, 6], batch.Text.TimeIds!.shape);
        Assert.Equal(trainsText, batch.Text.TextEmbeds!.requires_grad);
    }

    [Fact]
    public void Train_OtherOrigins_GiveOtherLossesAndCannotBeResumed()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var config = TinyRun.Config(folder.Path) with { Epochs = 1 };
        var cut = new PreparedDataset(TinyRun.Dataset.Images.Select(static image => image with { Origin = new ImageOrigin(500, 700, 3, 9) }));
        using var whole = new LoraTrainer().Train(config, pipeline, TinyRun.Dataset);
        whole.Dispose();

        var error = Assert.Throws<InvalidDataException>(() => new LoraTrainer { ResumeFrom = whole.StateFile }.Train(config, pipeline, cut));
        Assert.Contains("data: hash", error.Message, StringComparison.Ordinal);
        using var result = new LoraTrainer().Train(config, pipeline, cut);

        Assert.NotEqual(whole.Steps.Select(static step => step.Loss), result.Steps.Select(static step => step.Loss));
        var origin = JsonNode.Parse(File.ReadAllText(result.RecordFile))!["data"]!["images"]![0]!["origin"]!;
        Assert.Equal((500, 700, 3, 9), ((int)origin["width"]!, (int)origin["height"]!, (int)origin["left"]!, (int)origin["top"]!));
    }

    [Fact]
    public void OpenOrCreate_OtherSecondEncoder_IsAnotherModel()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        var options = new RegularizationOptions { Prompts = ["portrait"], Count = 1, Generation = new() { Steps = 1 } };
        RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, options);
        using (no_grad())
        {
            pipeline.TextEncoder2!.parameters().First().add_(1);
        }

        var error = Assert.Throws<InvalidDataException>(() => RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, options));
        Assert.Contains("- model: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Generate_EmptyNegativePrompt_IsZerosWhereTheModelSaysSo()
    {
        using var folder = new TemporaryFolder();
        using var pipeline = TinyPipeline.CreateXL();
        pipeline.Save(folder.Path);
        using var loaded = StableDiffusionPipeline.FromFolder(folder.Path);
        Assert.True(loaded.Text.ForceZerosForEmptyPrompt);
        var options = new GenerationOptions { Prompt = "blue shirt", Steps = 2 };
        var zeros = pipeline.Generate(options)[0].Pixels.ToArray();
        Assert.Equal(zeros, loaded.Generate(options)[0].Pixels.ToArray());

        var index = folder.In("model_index.json");
        File.WriteAllText(
            index,
            File.ReadAllText(index).Replace("\"force_zeros_for_empty_prompt\": true", "\"force_zeros_for_empty_prompt\": false", StringComparison.Ordinal));
        using var encoded = StableDiffusionPipeline.FromFolder(folder.Path);
        Assert.NotEqual(zeros, encoded.Generate(options)[0].Pixels.ToArray());
    }

    /// <summary>A run that trains all three networks.</summary>
    private static DiffusionTrainingConfig Both(string folder)
    {
        var config = TinyRun.Config(folder);
        return config with { TextEncoderLearningRate = 5e-4, TextEncoderLora = config.TextEncoderLora with { TargetModules = [.. TextTargets] } };
    }
}
