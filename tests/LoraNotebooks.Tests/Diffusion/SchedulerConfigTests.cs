using System.Text.Json.Nodes;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class SchedulerConfigTests
{
    [Fact]
    public void Save_ConfigWithUnknownKeysAndInfinity_KeepsThem()
    {
        using var folder = new TemporaryFolder();
        var path = folder.In("scheduler_config.json");
        File.WriteAllText(path, "{\n  \"_class_name\": \"DPMSolverMultistepScheduler\",\n  \"lambda_min_clipped\": -Infinity,\n  \"thresholding\": false,\n  \"solver_type\": \"heun\"\n}\n");
        var config = SchedulerConfig.Load(path);
        config.Save(path);
        var text = File.ReadAllText(path);
        Assert.Contains("\"lambda_min_clipped\": -Infinity", text);
        Assert.Contains("\"thresholding\": false", text);
        Assert.Contains("\"solver_type\": \"heun\"", text);
        var again = SchedulerConfig.Load(path);
        Assert.Equal(config with { OtherSettings = again.OtherSettings }, again);
    }

    [Fact]
    public void Load_AbsentKeys_HaveTheDefaultsOfTheClass()
    {
        var ddim = SchedulerConfig.FromJson(new JsonObject { ["_class_name"] = "DDIMScheduler" }, "test");
        var euler = SchedulerConfig.FromJson(new JsonObject { ["_class_name"] = "EulerDiscreteScheduler" }, "test");
        Assert.Equal((TimestepSpacing.Leading, true, true), (ddim.TimestepSpacing, ddim.ClipSample, ddim.SetAlphaToOne));
        Assert.Equal((TimestepSpacing.Linspace, false, false), (euler.TimestepSpacing, euler.ClipSample, euler.SetAlphaToOne));
    }

    [Fact]
    public void Load_SeveralFaults_ListsAllAndNamesTheFile()
    {
        using var folder = new TemporaryFolder();
        var path = folder.In("scheduler_config.json");
        File.WriteAllText(path, "{\"beta_schedule\": \"sigmoid\", \"prediction_type\": 3, \"beta_start\": 0.5}");
        var message = Assert.Throws<InvalidDataException>(() => SchedulerConfig.Load(path)).Message;
        Assert.All(new[] { path, "sigmoid", "scaled_linear", "prediction_type", "beta_start" }, part => Assert.Contains(part, message));
        Assert.Throws<FileNotFoundException>(() => SchedulerConfig.Load(folder.In("none.json")));
        File.WriteAllText(path, "[1");
        Assert.Contains(path, Assert.Throws<InvalidDataException>(() => SchedulerConfig.Load(path)).Message);
    }

    [Fact]
    public void BaseModelFolder_WhereNoneIsCopied_SaysWhereItWasLookedFor()
    {
        var beside = Path.Combine(AppContext.BaseDirectory, "Assets", "avatar-diffusion");
        if (File.Exists(Path.Combine(beside, "model_index.json")))
        {
            Assert.Equal(beside, BaseModel.Folder.TrimEnd(Path.DirectorySeparatorChar));
        }
        else
        {
            Assert.Contains(beside, Assert.Throws<DirectoryNotFoundException>(() => BaseModel.Folder).Message);
        }
    }
}
