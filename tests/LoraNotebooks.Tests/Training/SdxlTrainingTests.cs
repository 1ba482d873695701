using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;

namespace LoraNotebooks.Tests.Training;

/// <summary>The trainer, a LoRA and its file on a model of SDXL's kind.</summary>
public sealed class SdxlTrainingTests
{
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
        using (var result = new LoraTrainer().Train(config, pipeline, TinyRun.Dataset, new Immediate<TrainingStep>(_ => live.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount))))
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
        File.WriteAllText(index, File.ReadAllText(index).Replace("\"force_zeros_for_empty_prompt\": true", "\"force_zeros_for_empty_prompt\": false", StringComparison.Ordinal));
        using var encoded = StableDiffusionPipeline.FromFolder(folder.Path);
        Assert.NotEqual(zeros, encoded.Generate(options)[0].Pixels.ToArray());
    }
}
